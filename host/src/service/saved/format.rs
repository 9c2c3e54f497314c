//! The bytes of a saved state: a header with a checksum, and behind it the state.

use super::SavedState;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `"PVIRSAVE"`.
const MAGIC: [u8; 8] = *b"PVIRSAVE";
/// The version of the format. A change of [`SavedState`] or of what it means is a new one.
const VERSION: u32 = 1;
/// The longest body that is looked at. The largest VM, 32 devices with 2048 entries each, needs a tenth of it.
const MAX_BODY: usize = 16 << 20;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    /// CRC-32 (IEEE 802.3) of version, length and body.
    checksum: U32,
    /// Bytes of the body.
    length: U64,
}

const _: () = assert!(size_of::<Header>() == 24);

/// Why bytes are not a saved state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedState {
    /// They do not begin as one.
    #[error("it is not a saved state of pvir")]
    Foreign,
    /// They are of a version that this library does not know.
    #[error("it is of version {0}, and this library knows version {VERSION}")]
    Version(u32),
    /// They end too early, or go on behind the end.
    #[error("it should have {expected} bytes and has {found}")]
    Length {
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The checksum is not that of the contents.
    #[error("its checksum is wrong: it was damaged")]
    Checksum,
    /// The checksum is right, and the contents are none.
    #[error("its contents are malformed: {0}")]
    Contents(String),
}

fn checksum(version: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

impl SavedState {
    /// The bytes for a snapshot.
    ///
    /// # Errors
    /// [`DamagedState::Contents`] with the encoder's text; there is none in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DamagedState> {
        let body = postcard::to_stdvec(self).map_err(|error| DamagedState::Contents(error.to_string()))?;
        let header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            checksum: checksum(VERSION, &body).into(),
            length: (body.len() as u64).into(),
        };
        Ok([header.as_bytes(), &body].concat())
    }

    /// The state that [`to_bytes`](Self::to_bytes) has written. Whether it fits a service is validated by
    /// [`Service::restore`](crate::service::Service::restore).
    ///
    /// # Errors
    /// [`DamagedState`]: by name what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DamagedState> {
        let found = bytes.len() as u64;
        let Ok((header, body)) = Header::ref_from_prefix(bytes) else {
            let begins = MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC);
            let expected = size_of::<Header>() as u64;
            return Err(if begins {
                DamagedState::Length { expected, found }
            } else {
                DamagedState::Foreign
            });
        };
        if header.magic != MAGIC {
            return Err(DamagedState::Foreign);
        }
        let version = header.version.get();
        if version != VERSION {
            return Err(DamagedState::Version(version));
        }
        let length = header.length.get();
        if length != body.len() as u64 || body.len() > MAX_BODY {
            let expected = length.saturating_add(size_of::<Header>() as u64);
            return Err(DamagedState::Length { expected, found });
        }
        if header.checksum.get() != checksum(version, body) {
            return Err(DamagedState::Checksum);
        }
        let contents = |error: postcard::Error| DamagedState::Contents(error.to_string());
        let (state, rest) = postcard::take_from_bytes::<Self>(body).map_err(contents)?;
        match rest.len() {
            0 => Ok(state),
            more => Err(DamagedState::Contents(format!("{more} bytes follow them"))),
        }
    }
}
