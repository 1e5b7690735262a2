//! The two places where the engine guarantees something that the compiler cannot check.
#![expect(
    unsafe_code,
    reason = "loading our own compiled code; skipping a type check already made"
)]

use crate::Host;
use crate::cache::SealedFile;
use std::marker::PhantomData;
use wasmtime::component::{Component, ComponentNamedList, Func, Lift, Lower, TypedFunc};
use wasmtime::{AsContext, Store};

/// Loads code that this host compiled itself. `sealed` is the proof: only the cache makes one, after it has
/// checked the MAC.
pub(crate) fn load(engine: &wasmtime::Engine, sealed: &SealedFile) -> Option<Component> {
    // SAFETY: `SealedFile` is made only for bytes whose HMAC, under a key only this user can read, covers
    // exactly what `Component::serialize` returned here for an engine with the same compatibility hash.
    unsafe { Component::deserialize(engine, sealed.octets()) }.ok()
}

/// The type of an exported function; its parameters may borrow.
pub(crate) trait Signature {
    /// Parameters, flat or borrowed.
    type Params<'a>: ComponentNamedList + Lower;
    /// Result, owned.
    type Return: ComponentNamedList + Lift + Send + Sync + 'static;
}

/// An exported function of one instance whose type was checked.
pub(crate) struct CheckedExport<S> {
    func: Func,
    signature: PhantomData<fn() -> S>,
}

impl<S: Signature> CheckedExport<S> {
    /// Checks the type, once per instance.
    pub(crate) fn check(store: impl AsContext, func: Func) -> wasmtime::Result<Self> {
        func.typed::<S::Params<'static>, S::Return>(store)?;
        Ok(Self { func, signature: PhantomData })
    }

    fn typed<'a>(&self) -> TypedFunc<S::Params<'a>, S::Return> {
        // SAFETY: `check`, the only constructor, type-checked this very function against the same parameters
        // and result; a lifetime takes no part in a component's type.
        unsafe { TypedFunc::new_unchecked(self.func) }
    }

    /// Calls it.
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        params: S::Params<'_>,
    ) -> wasmtime::Result<S::Return> {
        store.data().mark.begin();
        let answer = self.typed().call(&mut *store, params);
        store.data().mark.end();
        answer
    }

    /// Calls it on a fiber, so that imports may suspend.
    pub(crate) async fn call_async(
        &self,
        store: &mut Store<Host>,
        params: S::Params<'_>,
    ) -> wasmtime::Result<S::Return> {
        let _running = store.data().mark.running();
        self.typed().call_async(store, params).await
    }
}
