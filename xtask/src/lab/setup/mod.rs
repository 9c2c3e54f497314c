//! Finds or fetches what the lab needs beyond this source tree: QEMU, busybox, and a kernel for L1.
//!
//! Nothing is installed: packages are fetched through the machine's own apt and unpacked into the cache, which needs no
//! root and leaves the machine as it is. A component is complete as soon as its folder exists, because it is made under
//! another name; its name holds a hash of its recipe, so that a newer recipe makes a new one.

mod apt;
mod cache;
mod l1;
mod tools;
mod version;

pub(crate) use cache::Cache;
pub(crate) use l1::L1;
pub(crate) use tools::Tools;

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

/// What was found since this program started: it is looked for once.
static READY: Mutex<Option<Setup>> = Mutex::new(None);

/// Everything fetched that the lab runs on.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) cache: Cache,
    pub(crate) tools: Tools,
    pub(crate) l1: L1,
}

impl Setup {
    /// Finds everything, fetching what is missing, once in the life of this program: who comes meanwhile waits.
    pub(crate) fn ready() -> Result<Self> {
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(setup) = &*ready {
            return Ok(setup.clone());
        }
        let cache = Cache::open()?;
        let tools = Tools::ready(&cache)?;
        let l1 = L1::ready(&cache, &tools)?;
        Ok(ready.insert(Self { cache, tools, l1 }).clone())
    }
}
