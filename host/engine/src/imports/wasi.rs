//! WASI 0.2 imports that some toolchains emit, linked to an empty world: no environment, files or sockets.
//! Output becomes lines of the log.
//!
//! The type of a function determines its result (an empty list, an empty option, zero), so that every 0.2.x
//! starts; a few functions are answered by name, because a zero would make a runtime loop or fail. Nothing
//! here reaches the outside except time and randomness.

use super::{basic, output};
use crate::Host;
use crate::engine::CompiledComponent;
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Linker, Resource, ResourceType, Val};

/// Values in one result; the largest of WASI has a dozen.
const MAX_VALUES: u32 = 1_000;

/// Functions that write bytes; no stream but standard output and error can be opened.
const WRITES: [&str; 2] = [
    "wasi:io/streams.[method]output-stream.write",
    "wasi:io/streams.[method]output-stream.blocking-write-and-flush",
];
/// Bytes of a write that are looked at.
const MAX_WRITE: usize = 4096;

/// The representation of every WASI resource.
struct InertResource;

pub(super) fn add(linker: &mut Linker<Host>, compiled: &CompiledComponent) -> wasmtime::Result<()> {
    let engine = compiled.engine.wasmtime();
    for (name, item) in compiled.component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        if !name.starts_with("wasi:") {
            continue;
        }
        let mut instance = linker.instance(name)?;
        let bare = name.split('@').next().unwrap_or(name).to_owned();
        for (item, ty) in interface.exports(engine) {
            match ty.ty {
                ComponentItem::Resource(_) => {
                    instance.resource(
                        item,
                        ResourceType::host::<InertResource>(),
                        |_, _| Ok(()),
                    )?;
                }
                ComponentItem::ComponentFunc(_) => {
                    let path = format!("{bare}.{item}");
                    instance.func_new(item, move |store, ty, params, results| {
                        answer(&path, store, &ty, params, results)
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn answer(
    path: &str,
    mut store: StoreContextMut<'_, Host>,
    ty: &ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    if path.starts_with("wasi:cli/exit.") {
        return Err(wasmtime::Error::msg("the filter called exit"));
    }
    if WRITES.contains(&path)
        && let Some(Val::List(octets)) = params.get(1)
    {
        let octets = octets.iter().take(MAX_WRITE).filter_map(|octet| match octet {
            Val::U8(octet) => Some(*octet),
            _ => None,
        });
        output::written(store.data_mut(), &octets.collect::<Vec<_>>());
    }
    for param in params {
        give_back(&mut store, param)?;
    }
    let unreachable = path.starts_with("wasi:sockets/") || path.starts_with("wasi:filesystem/");
    for (slot, ty) in results.iter_mut().zip(ty.results()) {
        *slot = match named(store.data(), path, params)? {
            Some(value) => value,
            None => empty(&ty, &mut store, unreachable, &mut { MAX_VALUES })?,
        };
    }
    Ok(())
}

/// Ends what the component lent for this call: a call that returns while a handle is lent is a fault of the component, and
/// a host function that takes any value is asked to end it itself.
fn give_back(store: &mut StoreContextMut<'_, Host>, value: &Val) -> wasmtime::Result<()> {
    match value {
        Val::Resource(handle) => handle.try_into_resource::<InertResource>(store).map(drop),
        Val::List(values) | Val::Tuple(values) => {
            values.iter().try_for_each(|value| give_back(store, value))
        }
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| give_back(store, value)),
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => give_back(store, value),
        _ => Ok(()),
    }
}

/// Results of functions for which the default of the type would be wrong.
fn named(host: &Host, path: &str, params: &[Val]) -> wasmtime::Result<Option<Val>> {
    let ok = |value| Val::Result(Ok(Some(Box::new(value))));
    Ok(Some(match path {
        "wasi:clocks/monotonic-clock.now" => {
            // The clock never returns zero: Go takes such a clock for broken and does not start.
            Val::U64(basic::monotonic_ms(host).saturating_add(1).saturating_mul(1_000_000))
        }
        "wasi:clocks/monotonic-clock.resolution" => Val::U64(1_000_000),
        "wasi:clocks/wall-clock.now" => datetime(host.state.clock.unix_ms()),
        "wasi:clocks/wall-clock.resolution" => datetime(1),
        "wasi:random/random.get-random-bytes"
        | "wasi:random/insecure.get-insecure-random-bytes" => {
            let count = match params.first() {
                Some(Val::U64(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
                _ => 0,
            };
            Val::List(basic::octets(host, count)?.into_iter().map(Val::U8).collect())
        }
        "wasi:random/random.get-random-u64" | "wasi:random/insecure.get-insecure-random-u64" => {
            Val::U64(basic::number(host)?)
        }
        "wasi:random/insecure-seed.insecure-seed"
        | "wasi:random/insecure-seed.get-insecure-seed" => {
            Val::Tuple(vec![Val::U64(basic::number(host)?), Val::U64(basic::number(host)?)])
        }
        // Room for output that is discarded; zero would make a writer wait for ever.
        "wasi:io/streams.[method]output-stream.check-write" => ok(Val::U64(1 << 20)),
        // Reading returns the end of the input: after an empty read the guest would read again.
        "wasi:io/streams.[method]input-stream.read"
        | "wasi:io/streams.[method]input-stream.blocking-read"
        | "wasi:io/streams.[method]input-stream.skip"
        | "wasi:io/streams.[method]input-stream.blocking-skip" => {
            Val::Result(Err(Some(Box::new(Val::Variant("closed".to_owned(), None)))))
        }
        // Nothing ever waits here, so every pollable is ready.
        "wasi:io/poll.[method]pollable.ready" => Val::Bool(true),
        "wasi:io/poll.poll" => {
            let count = match params.first() {
                Some(Val::List(pollables)) => u32::try_from(pollables.len()).unwrap_or(u32::MAX),
                _ => 0,
            };
            Val::List((0..count).map(Val::U32).collect())
        }
        _ => return Ok(None),
    }))
}

fn datetime(unix_ms: u64) -> Val {
    let nanoseconds = u32::try_from(unix_ms % 1_000).unwrap_or(0).saturating_mul(1_000_000);
    Val::Record(vec![
        ("seconds".to_owned(), Val::U64(unix_ms / 1_000)),
        ("nanoseconds".to_owned(), Val::U32(nanoseconds)),
    ])
}

/// The emptiest value of a type; the `ok` side of a result unless `unreachable`.
fn empty(
    ty: &Type,
    store: &mut StoreContextMut<'_, Host>,
    unreachable: bool,
    left: &mut u32,
) -> wasmtime::Result<Val> {
    // The component chooses the type, and types of types multiply.
    *left = left.checked_sub(1).ok_or_else(|| {
        wasmtime::Error::msg("WASI functions answering so large a value are not offered")
    })?;
    let side = |ty: Option<Type>, store: &mut StoreContextMut<'_, Host>, left: &mut u32| {
        ty.map(|ty| empty(&ty, store, false, left).map(Box::new)).transpose()
    };
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('\0'),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Result(result) if unreachable => Val::Result(Err(side(result.err(), store, left)?)),
        Type::Result(result) => Val::Result(Ok(side(result.ok(), store, left)?)),
        Type::Record(record) => {
            let fields = record.fields().map(|field| {
                Ok((field.name.to_owned(), empty(&field.ty, store, unreachable, left)?))
            });
            Val::Record(fields.collect::<wasmtime::Result<_>>()?)
        }
        Type::Tuple(tuple) => {
            let types = tuple.types().map(|ty| empty(&ty, store, unreachable, left));
            Val::Tuple(types.collect::<wasmtime::Result<_>>()?)
        }
        Type::Enum(cases) => Val::Enum(cases.names().next().unwrap_or_default().to_owned()),
        Type::Variant(variant) => match variant.cases().next() {
            Some(case) => Val::Variant(case.name.to_owned(), side(case.ty, store, left)?),
            None => return Err(wasmtime::Error::msg("a variant without cases")),
        },
        Type::Own(_) => {
            Val::Resource(Resource::<InertResource>::new_own(0).try_into_resource_any(&mut *store)?)
        }
        other => {
            return Err(wasmtime::Error::msg(format!(
                "WASI functions that return {other:?} are not supported"
            )));
        }
    })
}
