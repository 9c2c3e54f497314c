//! A frame: one byte of kind, four of length (little endian), then the bytes.

use std::io::{self, Read, Write};

/// No frame is longer; a longer one means that the two ends lost step.
const LIMIT: usize = 1 << 24;
const HEADER: usize = 5;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From L1: it is up, and waits for its job.
    Hello,
    /// From L1, again and again: its first program is still given time, whatever the command does.
    Alive,
    /// To L1: the [`Job`](crate::Job), as JSON.
    Job,
    /// To L1: input of the command; an empty one is its end.
    Stdin,
    /// To L1: the terminal's new size, as JSON of [`WindowSize`](crate::WindowSize).
    Resize,
    /// From L1: bytes of the command's standard output.
    Stdout,
    /// From L1: bytes of the command's standard error.
    Stderr,
    /// From L1: a piece of the tar archive of what the command left for the host.
    Out,
    /// From L1: the command ended; one byte of status.
    Exit,
    /// From L1: the lab could not do its job; the reason as text.
    Failed,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Hello,
        Self::Alive,
        Self::Job,
        Self::Stdin,
        Self::Resize,
        Self::Stdout,
        Self::Stderr,
        Self::Out,
        Self::Exit,
        Self::Failed,
    ];

    fn to_byte(self) -> u8 {
        match self {
            Self::Hello => b'h',
            Self::Alive => b'a',
            Self::Job => b'j',
            Self::Stdin => b'i',
            Self::Resize => b'r',
            Self::Stdout => b'o',
            Self::Stderr => b'e',
            Self::Out => b't',
            Self::Exit => b'x',
            Self::Failed => b'f',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the bytes are.
    pub kind: Kind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Writes one frame, in one write where the other end allows it.
pub fn write_frame(writer: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LIMIT);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame is too long"))?;
    let mut whole = Vec::with_capacity(HEADER + bytes.len());
    whole.push(kind.to_byte());
    whole.extend_from_slice(&length.to_le_bytes());
    whole.extend_from_slice(bytes);
    writer.write_all(&whole)?;
    writer.flush()
}

/// Reads one frame; `None` when the other end closed between two frames.
pub fn read_frame(reader: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut kind = [0; 1];
    if reader.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let kind = Kind::from_byte(kind[0])
        .ok_or_else(|| invalid(format!("unknown kind of frame {:#04x} in the lab's channel", kind[0])))?;
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LIMIT {
        return Err(invalid(format!("frame of {length} bytes in the lab's channel")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(Some(Frame { kind, bytes }))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_kind_survive_the_way() {
        let mut stream = Vec::new();
        for kind in Kind::ALL {
            write_frame(&mut stream, kind, &[0, 255, b'\n', kind.to_byte()]).unwrap();
        }
        let mut reader = stream.as_slice();
        for kind in Kind::ALL {
            let frame = read_frame(&mut reader).unwrap().unwrap();
            assert_eq!(frame, Frame { kind, bytes: vec![0, 255, b'\n', kind.to_byte()] });
        }
        assert_eq!(read_frame(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_frame_cut_short_is_an_error_and_not_an_end() {
        let mut stream = Vec::new();
        write_frame(&mut stream, Kind::Stdout, b"bytes").unwrap();
        let error = read_frame(&mut &stream[..stream.len() - 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_unknown_kind_or_an_absurd_length_is_refused() {
        let unknown = read_frame(&mut [b'?', 0, 0, 0, 0].as_slice()).unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::InvalidData);
        let absurd = read_frame(&mut [b'o', 0, 0, 0, 0xff].as_slice()).unwrap_err();
        assert_eq!(absurd.kind(), io::ErrorKind::InvalidData);
    }
}
