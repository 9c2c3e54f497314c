//! How this kernel adds `pvir-guest`: the platform that it is, and a session with the host.

mod platform;
mod session;

pub(crate) use platform::{KERNEL, Kernel, device_id};
pub(crate) use session::{Session, discover, open};
