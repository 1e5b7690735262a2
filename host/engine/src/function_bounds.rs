//! What functions of a component may cost the compiler. Its time and memory grow with the blocks of a function times its locals,
//! so half a megabyte of code could take gigabytes and minutes, in the proxy and wherever a pair is checked.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Bytes of a function. The largest of a Python runtime, which writes its relocations, has 427 KB.
const BYTES_MAX: usize = 512 * 1024;
/// Bytes of all functions of a component.
const ALL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Calls in a function: each takes the compiler some two kilobytes. The most in runtimes of Python and JavaScript are 3,112.
const CALLS_MAX: usize = 16 * 1024;
/// Blocks of a function times its locals: the compiler takes some 180 MB and a few seconds for so many. The most in those
/// runtimes are 0.4 million.
const PRODUCT_MAX: u64 = 2 * 1024 * 1024;
/// The same, of all functions of a component together. The most in those runtimes are 7.2 million.
const PRODUCTS_MAX: u64 = 32 * 1024 * 1024;

/// What one function has.
#[derive(Debug, Default, Clone, Copy)]
struct FunctionCost {
    bytes: usize,
    calls: usize,
    locals: u64,
    blocks: u64,
}

impl FunctionCost {
    fn of(body: &FunctionBody<'_>) -> wasmparser::Result<Self> {
        let mut cost = Self { bytes: body.range().len(), ..Self::default() };
        for group in body.get_locals_reader()? {
            cost.locals = cost.locals.saturating_add(group?.0.into());
        }
        for operator in body.get_operators_reader()? {
            let (blocks, calls) = match operator? {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Else
                | Operator::BrIf { .. } => (1, 0),
                Operator::BrTable { targets } => (targets.len().saturating_add(1).into(), 0),
                Operator::Call { .. } | Operator::CallIndirect { .. } => (0, 1),
                _ => (0, 0),
            };
            cost.blocks = cost.blocks.saturating_add(blocks);
            cost.calls = cost.calls.saturating_add(calls);
        }
        Ok(cost)
    }

    /// How the time and memory of the compiler grow with it.
    fn product(&self) -> u64 {
        self.locals.saturating_add(1).saturating_mul(self.blocks.saturating_add(1))
    }

    /// The bound that it exceeds.
    fn excess(&self) -> Option<String> {
        let Self { bytes, calls, locals, blocks } = self;
        if *bytes > BYTES_MAX {
            return Some(format!("{bytes} bytes; at most {BYTES_MAX}"));
        }
        if *calls > CALLS_MAX {
            return Some(format!("{calls} calls; at most {CALLS_MAX}"));
        }
        (self.product() > PRODUCT_MAX).then(|| {
            format!("{locals} locals and {blocks} blocks; at most {PRODUCT_MAX}, multiplied")
        })
    }
}

/// What all functions have.
#[derive(Debug, Default, Clone, Copy)]
struct AllFunctions {
    number: usize,
    bytes: usize,
    products: u64,
}

impl AllFunctions {
    /// Adds one.
    ///
    /// # Errors
    /// The bound that it exceeds, or that all exceed with it.
    fn add(&mut self, one: &FunctionCost) -> Result<(), String> {
        self.number = self.number.saturating_add(1);
        self.bytes = self.bytes.saturating_add(one.bytes);
        self.products = self.products.saturating_add(one.product());
        let number = self.number;
        let excess = if let Some(excess) = one.excess() {
            format!("function {number} of its code has {excess}")
        } else if self.bytes > ALL_BYTES_MAX {
            format!("its functions have more than {ALL_BYTES_MAX} bytes")
        } else if self.products > PRODUCTS_MAX {
            format!(
                "the locals of its functions times their blocks come to more than {PRODUCTS_MAX}"
            )
        } else {
            return Ok(());
        };
        Err(format!(
            "{excess}, so compiling it would take too long: split large functions, or build it with optimisation for size"
        ))
    }
}

/// Checks every function of a component that was validated, those of modules that are never instantiated among them: all are
/// compiled.
///
/// # Errors
/// The bound that one exceeds, or all of them together.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut all = AllFunctions::default();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionEntry(body) = payload.map_err(|error| error.to_string())? {
            let cost = FunctionCost::of(&body).map_err(|error| error.to_string())?;
            all.add(&cost)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The section of code of a module with that many locals and that code in each of its functions.
    fn module(functions: u32, locals: u32, code: &[u8]) -> Vec<u8> {
        let number = |mut number: u32| {
            let mut octets = Vec::new();
            while number >= 0x80 {
                octets.push((number & 0x7f) as u8 | 0x80);
                number >>= 7;
            }
            octets.push(number as u8);
            octets
        };
        let section = |id: u8, content: Vec<u8>| {
            let length = number(u32::try_from(content.len()).unwrap());
            [vec![id], length, content].concat()
        };
        // One group of locals, of type i32; the code; the end.
        let body = [vec![1], number(locals), vec![0x7f], code.to_vec(), vec![0x0b]].concat();
        let length = number(u32::try_from(body.len()).unwrap());
        let bodies = [length, body].concat().repeat(functions as usize);
        let types = vec![0; functions as usize];
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(1, vec![1, 0x60, 0, 0]),
            section(3, [number(functions), types].concat()),
            section(10, [number(functions), bodies].concat()),
        ]
        .concat()
    }

    #[test]
    fn what_would_take_the_compiler_gigabytes_or_minutes_is_refused_with_its_function() {
        const BLOCK: &[u8] = &[0x02, 0x40, 0x0b];
        const LOOP: &[u8] = &[0x03, 0x40, 0x0b];
        const IF: &[u8] = &[0x41, 0, 0x04, 0x40, 0x05, 0x0b];
        const BRANCH: &[u8] = &[0x41, 0, 0x0d, 0];
        const TABLE: &[u8] = &[0x41, 0, 0x0e, 1, 0, 0];
        const CALL: &[u8] = &[0x10, 0];
        const NOTHING: &[u8] = &[0x01];
        for (what, functions, locals, unit, times, refused) in [
            ("small", 1, 10, BLOCK, 10, None),
            ("many locals", 1, 49_000, BLOCK, 42, Some("function 1 ")),
            ("many blocks", 1, 50, BLOCK, 100_000, Some("blocks")),
            ("loops", 1, 2_000, LOOP, 1_100, Some("blocks")),
            ("both sides of an if", 1, 2_000, IF, 550, Some("blocks")),
            ("branches", 1, 2_000, BRANCH, 1_100, Some("blocks")),
            ("tables", 1, 2_000, TABLE, 550, Some("blocks")),
            ("just below", 1, 1_999, LOOP, 1_047, None),
            ("calls", 1, 0, CALL, 16 * 1024, None),
            ("a call more", 1, 0, CALL, 16 * 1024 + 1, Some("calls")),
            ("as long as it may be", 1, 0, NOTHING, 500_000, None),
            ("too long", 1, 0, NOTHING, 530_000, Some("bytes")),
            ("many of the largest", 17, 1_999, LOOP, 1_047, Some("its functions times")),
            ("as many as may be", 16, 1_999, LOOP, 1_047, None),
            ("long ones", 68, 0, NOTHING, 500_000, Some("its functions have more than")),
        ] {
            let checked = check(&module(functions, locals, &unit.repeat(times)));
            match (checked, refused) {
                (Ok(()), None) => {}
                (Err(rule), Some(part)) => assert!(rule.contains(part), "{what}: {rule}"),
                (checked, _) => panic!("{what}: {checked:?}"),
            }
        }
    }
}
