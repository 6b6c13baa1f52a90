//! What the first bytes of a file say about how the kernel executes it: an ELF image with its machine
//! and its loader, a script with its interpreter, or neither. Pure; the bytes are the container's and
//! not trusted. Called by `refusal`.

/// How much of a file the kernel looks at for its kind (BINPRM_BUF_SIZE).
pub const HEAD: usize = 256;
/// The longest path of a loader (PATH_MAX).
const MAX_LOADER: u64 = 4096;
/// More program headers than any program has are not read.
const MAX_HEADERS: u64 = 128;

/// A file as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Nothing in it.
    Empty,
    /// A program.
    Elf(Elf),
    /// `#!`.
    Script {
        /// The interpreter's path; empty when there is none.
        interpreter: Vec<u8>,
        /// The first line ends in a carriage return.
        carriage_return: bool,
        /// The path is longer than the kernel reads.
        cut: bool,
    },
    /// Text that begins with `#!` only after a byte order mark.
    Marked,
    /// A program of Windows.
    Windows,
    /// A program of macOS.
    MacOs,
    /// Text without `#!`.
    Text,
    /// Something else.
    Other,
}

/// What the header of an ELF image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// 64 bits, otherwise 32.
    pub wide: bool,
    /// Little-endian, otherwise big-endian.
    pub little: bool,
    /// `e_type`: 2 is a program, 3 one that may be loaded anywhere, 1 an object file.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// The path of the loader; none in a static program.
    pub loader: Option<Vec<u8>>,
}

/// Looks at a file; `read` gives up to so many bytes from an offset, fewer at its end.
pub fn look(read: impl Fn(u64, usize) -> Vec<u8>) -> Image {
    let head = read(0, HEAD);
    match head.as_slice() {
        [] => Image::Empty,
        [0x7f, b'E', b'L', b'F', ..] => elf(&head, read).map_or(Image::Other, Image::Elf),
        [b'#', b'!', line @ ..] => script(line, head.len() == HEAD),
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => Image::Marked,
        [b'M', b'Z', ..] => Image::Windows,
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => Image::MacOs,
        _ if !head.contains(&0) => Image::Text,
        _ => Image::Other,
    }
}

/// The kernel takes what stands between blanks after `#!` (fs/binfmt_script.c).
fn script(line: &[u8], full: bool) -> Image {
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = line.get(..end.unwrap_or(line.len())).unwrap_or(line);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let begin = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let path = line.get(begin..).unwrap_or_default();
    let stop = path.iter().position(blank);
    let interpreter = path.get(..stop.unwrap_or(path.len())).unwrap_or(path).to_vec();
    let cut = end.is_none() && stop.is_none() && full;
    Image::Script { interpreter, carriage_return: line.ends_with(b"\r"), cut }
}

fn elf(head: &[u8], read: impl Fn(u64, usize) -> Vec<u8>) -> Option<Elf> {
    let wide = match head.get(4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let little = *head.get(5)? == 1;
    let field = |bytes: &[u8], at: usize, size: usize| number(bytes, at, size, little);
    let kind = u16::try_from(field(head, 16, 2)?).ok()?;
    let machine = u16::try_from(field(head, 18, 2)?).ok()?;
    let (table, size, count) = match wide {
        true => (field(head, 32, 8)?, field(head, 54, 2)?, field(head, 56, 2)?),
        false => (field(head, 28, 4)?, field(head, 42, 2)?, field(head, 44, 2)?),
    };
    let mut elf = Elf { wide, little, kind, machine, loader: None };
    // Sizes other than these the kernel refuses (fs/binfmt_elf.c).
    let expected = if wide { 56 } else { 32 };
    if size != expected {
        return Some(elf);
    }
    for index in 0..count.min(MAX_HEADERS) {
        let header = read(table.checked_add(index * expected)?, expected as usize);
        if field(&header, 0, 4) != Some(3) {
            continue;
        }
        let (offset, length) = match wide {
            true => (field(&header, 8, 8)?, field(&header, 32, 8)?),
            false => (field(&header, 4, 4)?, field(&header, 16, 4)?),
        };
        let path = read(offset, usize::try_from(length.min(MAX_LOADER)).ok()?);
        elf.loader = path.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        break;
    }
    Some(elf)
}

/// A number of `size` bytes.
fn number(bytes: &[u8], at: usize, size: usize, little: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
}

impl Elf {
    /// The architecture in the words of `uname -m`.
    pub fn architecture(&self) -> String {
        let name = match (self.machine, self.wide, self.little) {
            (3, ..) => "i386",
            (62, true, _) => "x86_64",
            (62, false, _) => "x86_64 (x32)",
            (40, ..) => "arm",
            (183, ..) => "aarch64",
            (243, true, _) => "riscv64",
            (243, false, _) => "riscv32",
            (20, ..) => "ppc",
            (21, _, true) => "ppc64le",
            (21, _, false) => "ppc64",
            (22, ..) => "s390x",
            (8, _, true) => "mipsel",
            (8, _, false) => "mips",
            (258, ..) => "loongarch64",
            (2 | 18 | 43, ..) => "sparc",
            (other, ..) => return format!("machine {other}"),
        };
        name.to_string()
    }

    /// Whether a machine of this architecture (`uname -m`) executes it by itself.
    pub fn runs_on(&self, machine: &str) -> bool {
        let own = self.architecture();
        own == machine
            || matches!(
                (machine, own.as_str()),
                ("x86_64", "i386" | "x86_64 (x32)") | ("aarch64", "arm") | ("ppc64", "ppc")
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(bytes: &[u8]) -> Image {
        look(|offset, length| {
            let from = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
            bytes[from..bytes.len().min(from.saturating_add(length))].to_vec()
        })
    }

    /// An image of 64 bits with one program header.
    fn program(machine: u16, loader: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[16] = 2;
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[72] = 120;
        bytes[96..104].copy_from_slice(&(loader.len() as u64).to_le_bytes());
        bytes.extend_from_slice(loader);
        bytes
    }

    fn script(interpreter: &str, carriage_return: bool) -> Image {
        Image::Script { interpreter: interpreter.into(), carriage_return, cut: false }
    }

    #[test]
    fn kinds_of_files() {
        let table: [(&[u8], Image); 11] = [
            (b"", Image::Empty),
            (b"#!/bin/sh\necho", script("/bin/sh", false)),
            (b"#! \t/bin/sh -e\n", script("/bin/sh", false)),
            (b"#!/bin/sh\r\necho\r\n", script("/bin/sh\r", true)),
            (b"#!/usr/bin/env sh\r\n", script("/usr/bin/env", true)),
            (b"#!\n", script("", false)),
            (b"#!/bin/sh", script("/bin/sh", false)),
            (b"\xef\xbb\xbf#!/bin/sh\n", Image::Marked),
            (b"MZ\x90\0", Image::Windows),
            (b"echo hello\n", Image::Text),
            (b"\x00asm\x01", Image::Other),
        ];
        for (bytes, expected) in table {
            assert_eq!(look_at(bytes), expected, "{bytes:?}");
        }
        let long = [b"#!".as_slice(), &[b'x'; 300]].concat();
        assert!(matches!(look_at(&long), Image::Script { cut: true, .. }));
    }

    #[test]
    fn programs() {
        let Image::Elf(elf) = look_at(&program(62, b"/lib/ld-musl-x86_64.so.1\0")) else { panic!() };
        assert_eq!(elf.loader.as_deref(), Some(&b"/lib/ld-musl-x86_64.so.1"[..]));
        assert_eq!((elf.architecture().as_str(), elf.runs_on("x86_64")), ("x86_64", true));
        let Image::Elf(elf) = look_at(&program(183, b"")) else { panic!() };
        assert_eq!((elf.architecture().as_str(), elf.runs_on("x86_64")), ("aarch64", false));
    }

    #[test]
    fn any_bytes_are_looked_at_without_harm() {
        let good = program(62, b"/lib/ld.so\0");
        for length in 0..good.len() {
            look_at(&good[..length]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                look_at(&bad);
            }
        }
        let mut far = good;
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(
            look_at(&far),
            Image::Elf(Elf { wide: true, little: true, kind: 2, machine: 62, loader: None })
        );
    }
}
