//! The limit on open descriptors: each interrupt of a guest takes one, of an emulated device two.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as this user may. A guest is refused an interrupt for which there is no descriptor.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("the limit on open files stays as it is: {error}");
    }
}
