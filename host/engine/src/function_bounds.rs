//! What functions of a component may cost the compiler. Its time and memory grow with the blocks of a function times its locals, and
//! with the values that each block, branch and call takes along, so half a megabyte of code could take gigabytes and minutes, in the
//! proxy and wherever a pair is checked.

use wasmparser::{
    FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, OperatorsReader, Parser,
    ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

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
/// Values on the stack of a function, counted again at each block, branch and call: these take along as many as they like of them.
/// The most in those runtimes are 17,582.
const VALUES_MAX: u64 = 64 * 1024;
/// The same, of all functions of a component together. The most in those runtimes are 0.7 million.
const ALL_VALUES_MAX: u64 = 2 * 1024 * 1024;
/// Parameters and results of a call that cost no more than others.
const REGISTERS: u64 = 16;
/// Each further one costs the compiler as much as so many values.
const MOVE_WEIGHT: u64 = 8;

/// What one function has.
#[derive(Debug, Default, Clone, Copy)]
struct FunctionCost {
    bytes: usize,
    calls: usize,
    /// Its parameters among them.
    locals: u64,
    blocks: u64,
    values: u64,
}

impl FunctionCost {
    /// Validates a function and counts what it has.
    fn of(
        function: &mut FuncValidator<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> wasmparser::Result<Self> {
        let mut cost = Self { bytes: body.range().len(), ..Self::default() };
        let mut reader = body.get_binary_reader();
        function.read_locals(&mut reader)?;
        cost.locals = function.len_locals().into();
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let before = function.operand_stack_height();
            function.op(offset, &operator)?;
            let height = before.max(function.operand_stack_height());
            cost.add(&operator, height);
            cost.values = cost.values.saturating_add(beyond_registers(&operator, function));
        }
        operators.finish()?;
        Ok(cost)
    }

    /// Adds an operator at which the stack has that many values.
    fn add(&mut self, operator: &Operator<'_>, height: u32) {
        let (blocks, calls) = match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::BrIf { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::TryTable { .. } => (1, 0),
            Operator::BrTable { targets } => (u64::from(targets.len()).saturating_add(1), 0),
            call if is_call(call) => (0, 1),
            Operator::Br { .. } | Operator::Return | Operator::End | Operator::Throw { .. } => {
                (0, 0)
            }
            _ => return,
        };
        self.blocks = self.blocks.saturating_add(blocks);
        self.calls = self.calls.saturating_add(calls);
        let values = u64::from(height).saturating_mul(blocks.max(1));
        self.values = self.values.saturating_add(values);
    }

    /// How the time and memory of the compiler grow with its blocks.
    fn product(&self) -> u64 {
        self.locals.saturating_add(1).saturating_mul(self.blocks.saturating_add(1))
    }

    /// The bound that it exceeds.
    fn excess(&self) -> Option<String> {
        let Self { bytes, calls, locals, blocks, values } = self;
        if *bytes > BYTES_MAX {
            return Some(format!("{bytes} bytes; at most {BYTES_MAX}"));
        }
        if *calls > CALLS_MAX {
            return Some(format!("{calls} calls; at most {CALLS_MAX}"));
        }
        if *values > VALUES_MAX {
            return Some(format!(
                "{values} values on its stack, counted at each block, branch and call; at most {VALUES_MAX}"
            ));
        }
        (self.product() > PRODUCT_MAX).then(|| {
            format!("{locals} locals and {blocks} blocks; at most {PRODUCT_MAX}, multiplied")
        })
    }
}

/// What a call costs in addition, counted in values: it moves each one through memory where registers are not enough.
fn beyond_registers(operator: &Operator<'_>, function: &FuncValidator<ValidatorResources>) -> u64 {
    if !is_call(operator) {
        return 0;
    }
    let (parameters, results) = operator.operator_arity(function).unwrap_or_default();
    let moved = u64::from(parameters).saturating_add(results.into());
    moved.saturating_sub(REGISTERS).saturating_mul(MOVE_WEIGHT)
}

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
    )
}

/// What all functions have.
#[derive(Debug, Default, Clone, Copy)]
struct AllFunctions {
    number: usize,
    bytes: usize,
    products: u64,
    values: u64,
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
        self.values = self.values.saturating_add(one.values);
        let number = self.number;
        let excess = if let Some(excess) = one.excess() {
            format!("function {number} of its code has {excess}")
        } else if self.bytes > ALL_BYTES_MAX {
            format!("its functions have more than {ALL_BYTES_MAX} bytes")
        } else if self.products > PRODUCTS_MAX {
            format!(
                "the locals of its functions times their blocks come to more than {PRODUCTS_MAX}"
            )
        } else if self.values > ALL_VALUES_MAX {
            format!(
                "its functions have more than {ALL_VALUES_MAX} values on their stacks, counted at each block, branch and call"
            )
        } else {
            return Ok(());
        };
        Err(format!(
            "{excess}, so compiling it would take too long: split large functions, or build it with optimisation for size"
        ))
    }
}

/// Validates a component and counts what every function of it has, those of modules that are never instantiated among them: all are
/// compiled.
///
/// # Errors
/// Why it is not valid, or the bound that one function exceeds, or all of them together.
pub(crate) fn check(bytes: &[u8], features: WasmFeatures) -> Result<(), String> {
    let mut all = AllFunctions::default();
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut room = FuncValidatorAllocations::default();
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| error.to_string())?;
        let valid = validator.payload(&payload).map_err(|error| error.to_string())?;
        if let ValidPayload::Func(function, body) = valid {
            let mut function = function.into_validator(room);
            let cost = FunctionCost::of(&mut function, &body).map_err(|error| error.to_string())?;
            room = function.into_allocations();
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
            let checked =
                check(&module(functions, locals, &unit.repeat(times)), WasmFeatures::WASM3);
            match (checked, refused) {
                (Ok(()), None) => {}
                (Err(rule), Some(part)) => assert!(rule.contains(part), "{what}: {rule}"),
                (checked, _) => panic!("{what}: {checked:?}"),
            }
        }
    }

    #[test]
    fn what_blocks_branches_and_calls_take_along_is_counted() {
        /// A function of that type whose code is `unit`, so many times, with so many values on the stack.
        fn module(signature: &str, held: usize, unit: &str, times: usize) -> Vec<u8> {
            let values = "i32 ".repeat(1_000);
            let text = format!(
                "(module (type $many (func (param {values}) (result {values}))) (type $give (func (result {values}))) (type $none (func))
                   (table 1 funcref)
                   (func $callee (type $many) unreachable)
                   (func (type {signature}) {} {} unreachable))",
                "(i32.const 0)".repeat(held),
                unit.repeat(times)
            );
            wat::parse_str(text).unwrap()
        }
        for (what, signature, held, unit, few, many, says) in [
            ("parameters of blocks", "$none", 1_000, "(block (type $many))", 20, 70, "values"),
            (
                "loops and branches",
                "$none",
                1_000,
                "(loop (type $many) (br_if 0 (i32.const 0)))",
                15,
                70,
                "values",
            ),
            (
                "sides of an if",
                "$none",
                1_000,
                "(if (type $many) (i32.const 0) (then) (else))",
                15,
                70,
                "values",
            ),
            (
                "results that nobody gets to",
                "$none",
                0,
                "(block (block (type $give) unreachable) br 0)",
                25,
                40,
                "values",
            ),
            ("parameters and results of calls", "$none", 1_000, "(call $callee)", 3, 5, "values"),
            (
                "of indirect ones",
                "$none",
                1_000,
                "(call_indirect (type $many) (i32.const 0))",
                3,
                5,
                "values",
            ),
            ("values below", "$none", 1_000, "(block)", 25, 70, "values"),
            ("branches to the end", "$none", 1_000, "(br_if 0 (i32.const 0))", 60, 70, "values"),
            ("parameters of the function", "$many", 0, "(block)", 2_000, 2_200, "1000 locals"),
        ] {
            let of = |times| {
                let bytes = module(signature, held, unit, times);
                check(&bytes, WasmFeatures::WASM3)
            };
            assert_eq!(of(few), Ok(()), "{what}");
            let refused = of(many).expect_err(what);
            assert!(refused.contains(says) && refused.contains("function 2 "), "{what}: {refused}");
        }
    }
}
