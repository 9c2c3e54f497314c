//! Judging with words: what was expected, what was found.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Result, bail};
use serde_json::Value;

/// Fails, naming both, unless they are the same.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<()> {
    if found != expected {
        bail!("{what}: {found:?} in place of {expected:?}");
    }
    Ok(())
}

/// A number in a JSON object, 0 where there is none: counters that never moved are left out.
pub(crate) fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// A text in a JSON object.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The counters that have grown, and by how much.
pub(crate) fn grown(before: &Value, after: &Value) -> BTreeMap<String, u64> {
    let counters = after.as_object().into_iter().flatten();
    counters
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
