//! A JSON writer without allocation: objects are written as they are built.
//!
//! Commas and braces follow from the calls, so a line is well-formed whatever the caller does, and strings
//! are escaped. Write errors of the sink are kept and reported once, by [`Object::finish`].

use core::fmt::{self, Write};

/// An object under construction.
#[derive(Debug)]
pub struct Object<'w, W: Write> {
    out: &'w mut W,
    first: bool,
    result: fmt::Result,
}

impl<'w, W: Write> Object<'w, W> {
    /// Opens an object.
    pub fn begin(out: &'w mut W) -> Self {
        let result = out.write_char('{');
        Self { out, first: true, result }
    }

    /// A string field.
    pub fn str(&mut self, key: &str, value: &str) -> &mut Self {
        self.field(key, |out| string(out, value))
    }

    /// A string field made from anything that can be displayed.
    pub fn display(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        self.field(key, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value}")?;
            out.write_char('"')
        })
    }

    /// An unsigned number.
    pub fn num(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        let value: u64 = value.into();
        self.field(key, |out| write!(out, "{value}"))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.field(key, |out| write!(out, "{value}"))
    }

    /// A number as a string of hexadecimal digits with `0x`: JSON numbers are not exact above 2^53.
    pub fn hex(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        let value: u64 = value.into();
        self.field(key, |out| write!(out, "\"{value:#x}\""))
    }

    /// An array of unsigned numbers.
    pub fn numbers(&mut self, key: &str, values: impl IntoIterator<Item = u64>) -> &mut Self {
        self.field(key, |out| {
            out.write_char('[')?;
            for (position, value) in values.into_iter().enumerate() {
                let comma = if position == 0 { "" } else { "," };
                write!(out, "{comma}{value}")?;
            }
            out.write_char(']')
        })
    }

    /// A nested object.
    pub fn object(&mut self, key: &str, build: impl FnOnce(&mut Object<'_, W>)) -> &mut Self {
        self.field(key, |out| nested(out, build))
    }

    /// An array of objects, one for each item.
    pub fn objects<I: IntoIterator>(
        &mut self,
        key: &str,
        items: I,
        mut build: impl FnMut(&mut Object<'_, W>, I::Item),
    ) -> &mut Self {
        self.field(key, |out| {
            out.write_char('[')?;
            for (position, item) in items.into_iter().enumerate() {
                if position > 0 {
                    out.write_char(',')?;
                }
                nested(out, |object| build(object, item))?;
            }
            out.write_char(']')
        })
    }

    /// Closes the object.
    ///
    /// # Errors
    /// The first error of the sink since [`Object::begin`].
    pub fn finish(self) -> fmt::Result {
        self.result.and_then(|()| self.out.write_char('}'))
    }

    fn field(&mut self, key: &str, value: impl FnOnce(&mut W) -> fmt::Result) -> &mut Self {
        if self.result.is_ok() {
            let comma = if self.first { "" } else { "," };
            self.first = false;
            self.result = self
                .out
                .write_str(comma)
                .and_then(|()| string(self.out, key))
                .and_then(|()| self.out.write_char(':'))
                .and_then(|()| value(self.out));
        }
        self
    }
}

fn nested<W: Write>(out: &mut W, build: impl FnOnce(&mut Object<'_, W>)) -> fmt::Result {
    let mut object = Object::begin(out);
    build(&mut object);
    object.finish()
}

fn string<W: Write>(out: &mut W, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// Escapes on the way what may not stand in a JSON string.
struct Escaped<'w, W: Write>(&'w mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                c if u32::from(c) < 0x20 => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_separated_and_strings_escaped() {
        let mut line = String::new();
        let mut object = Object::begin(&mut line);
        object
            .str("event", "a \"quoted\" \\ name\n\u{1}")
            .num("n", 7_u32)
            .flag("ok", true)
            .hex("address", 0xfee0_0000_u32);
        object.finish().unwrap();
        assert_eq!(
            line,
            r#"{"event":"a \"quoted\" \\ name\n\u0001","n":7,"ok":true,"address":"0xfee00000"}"#
        );
    }

    #[test]
    fn objects_and_arrays_nest() {
        let mut line = String::new();
        let mut object = Object::begin(&mut line);
        object.numbers("counts", [1, 2, 3]).numbers("none", []);
        object.object("device", |device| {
            device.display("address", format_args!("{:02x}", 5)).str("kind", "igb");
        });
        object.objects("rows", [1_u64, 2], |row, n| {
            row.num("n", n);
        });
        object.finish().unwrap();
        assert_eq!(
            line,
            r#"{"counts":[1,2,3],"none":[],"device":{"address":"05","kind":"igb"},"rows":[{"n":1},{"n":2}]}"#
        );
    }

    #[test]
    fn an_empty_object_is_closed() {
        let mut line = String::new();
        Object::begin(&mut line).finish().unwrap();
        assert_eq!(line, "{}");
    }

    #[test]
    fn an_error_of_the_sink_is_kept() {
        struct Full;
        impl Write for Full {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        let mut full = Full;
        let mut object = Object::begin(&mut full);
        object.num("n", 1_u32);
        assert!(object.finish().is_err());
    }
}
