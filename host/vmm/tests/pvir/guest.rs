//! Guests of a few instructions, and the real `pvir` to run them.

use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

/// Where the code of a guest is loaded and entered.
pub(crate) const LOAD: u32 = 0x10_0000;

/// 32-bit machine code, put together.
#[derive(Default, Clone)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }

    /// Goes on with other code.
    pub(crate) fn append(self, other: &Self) -> Self {
        self.bytes(&other.0)
    }

    fn imm32(self, opcode: &[u8], value: u32) -> Self {
        self.bytes(opcode).bytes(&value.to_le_bytes())
    }

    /// mov eax, value
    pub(crate) fn eax(self, value: u32) -> Self {
        self.imm32(&[0xb8], value)
    }

    /// mov edx, port
    fn dx(self, port: u16) -> Self {
        self.imm32(&[0xba], port.into())
    }

    /// out dx, al
    pub(crate) fn out8(self, port: u16, value: u8) -> Self {
        self.eax(value.into()).dx(port).bytes(&[0xee])
    }

    /// out dx, eax
    pub(crate) fn out32(self, port: u16, value: u32) -> Self {
        self.eax(value).dx(port).bytes(&[0xef])
    }

    /// in eax, dx
    pub(crate) fn in32(self, port: u16) -> Self {
        self.dx(port).bytes(&[0xed])
    }

    /// in al, dx
    pub(crate) fn in8(self, port: u16) -> Self {
        self.dx(port).bytes(&[0xec])
    }

    /// mov [address], eax
    pub(crate) fn store(self, address: u32) -> Self {
        self.imm32(&[0xa3], address)
    }

    /// mov eax, [address]
    pub(crate) fn load(self, address: u32) -> Self {
        self.imm32(&[0xa1], address)
    }

    /// Ends with `code` unless eax is `expected`.
    pub(crate) fn expect_eax(self, expected: u32, code: u8) -> Self {
        let failure = Self::new().exit(code);
        // cmp eax, expected; je over the failure
        let length = u8::try_from(failure.0.len()).unwrap();
        self.imm32(&[0x3d], expected).bytes(&[0x74, length]).bytes(&failure.0)
    }

    /// Writes a text to COM1, byte by byte.
    pub(crate) fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out8(0x3f8, byte))
    }

    /// The exit port.
    pub(crate) fn exit(self, code: u8) -> Self {
        self.out8(0xf4, code).spin()
    }

    /// Writes `count` bytes to COM1, and goes on; without end if there is no count.
    pub(crate) fn fill(self, count: Option<u32>) -> Self {
        // mov ecx, count; mov edx, COM1; mov al, 'x'; the loop: out dx, al; loop or jmp back to it
        let back: &[u8] = if count.is_some() { &[0xe2, 0xfd] } else { &[0xeb, 0xfd] };
        self.imm32(&[0xb9], count.unwrap_or(0)).dx(0x3f8).bytes(&[0xb0, b'x', 0xee]).bytes(back)
    }

    /// jmp to itself
    pub(crate) fn spin(self) -> Self {
        self.bytes(&[0xeb, 0xfe])
    }

    /// Writes a register of config space of device `device`.
    pub(crate) fn pci_write(self, device: u32, register: u32, value: u32) -> Self {
        self.out32(0xcf8, 0x8000_0000 | device << 11 | register).out32(0xcfc, value)
    }

    /// Reads one into eax.
    pub(crate) fn pci_read(self, device: u32, register: u32) -> Self {
        self.out32(0xcf8, 0x8000_0000 | device << 11 | register).in32(0xcfc)
    }

    /// An ELF64 file with this code at [`LOAD`], entered there by its PVH note.
    pub(crate) fn elf(&self) -> Vec<u8> {
        elf(&self.0, &pvh_note(), self.0.len() as u64)
    }

    /// An ELF32 file with this code.
    pub(crate) fn elf32(&self) -> Vec<u8> {
        const CODE_AT: u32 = 52 + 2 * 32;
        let (code, note) = (&self.0, pvh_note());
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let (code_size, note_size) = (size(code), size(&note));
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
        [LOAD, 52, 0, 0].iter().for_each(|field| file.extend(field.to_le_bytes()));
        [52_u16, 32, 2, 40, 0, 0].iter().for_each(|field| file.extend(field.to_le_bytes()));
        for [kind, at, address, size] in
            [[1, CODE_AT, LOAD, code_size], [4, CODE_AT + code_size, 0, note_size]]
        {
            let fields = [kind, at, address, address, size, size, 7, 4];
            fields.iter().for_each(|field| file.extend(field.to_le_bytes()));
        }
        [file, code.clone(), note].concat()
    }

    /// The same without a note.
    pub(crate) fn elf_without_note(&self) -> Vec<u8> {
        elf(&self.0, &[], self.0.len() as u64)
    }

    /// The same, so large that it fits into no memory.
    pub(crate) fn huge_elf(&self) -> Vec<u8> {
        elf(&self.0, &pvh_note(), 1 << 40)
    }
}

fn pvh_note() -> Vec<u8> {
    let mut note = Vec::new();
    // sizes of name and content, type XEN_ELFNOTE_PHYS32_ENTRY, name, entry point
    for field in [4_u32, 4, 18] {
        note.extend_from_slice(&field.to_le_bytes());
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(&LOAD.to_le_bytes());
    note
}

fn elf(code: &[u8], note: &[u8], size_in_memory: u64) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    let segments: u16 = if note.is_empty() { 1 } else { 2 };
    let code_at = HEADER + u64::from(segments) * PROGRAM_HEADER;
    let note_at = code_at + code.len() as u64;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for field in [u64::from(LOAD), HEADER, 0] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    for field in [0, 0, 64, 56, segments, 64, 0, 0] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    let mut segment = |kind: u32, offset: u64, address: u64, in_file: u64, in_memory: u64| {
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&7_u32.to_le_bytes());
        for field in [offset, address, address, in_file, in_memory, 4] {
            file.extend_from_slice(&field.to_le_bytes());
        }
    };
    segment(1, code_at, LOAD.into(), code.len() as u64, size_in_memory);
    if !note.is_empty() {
        segment(4, note_at, 0, note.len() as u64, note.len() as u64);
    }
    file.extend_from_slice(code);
    file.extend_from_slice(note);
    file
}

/// Whether guests can be run here; says loudly if not.
pub(crate) fn kvm_is_here() -> bool {
    let usable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        eprintln!("SKIP: /dev/kvm is absent or not permitted, nothing is tested on a real KVM");
    }
    usable
}

/// A file for a test, in a folder that goes away with it.
pub(crate) struct Kernel {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Kernel {
    pub(crate) fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        std::fs::write(&path, content).unwrap();
        Self { _folder: folder, path }
    }
}

/// `pvir run KERNEL`, bounded in time.
pub(crate) fn pvir(kernel: &Kernel, arguments: &[&str]) -> Command {
    let mut command = pvir_without_timeout(kernel, arguments);
    let limit = patience::stretched(Duration::from_secs(20));
    command.args(["--timeout", &limit.as_secs_f64().to_string()]);
    command
}

/// The same for a test that brings its own bound.
pub(crate) fn pvir_without_timeout(kernel: &Kernel, arguments: &[&str]) -> Command {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_pvir"));
    command.arg("run").arg(&kernel.path).args(["--memory", "16M"]).args(arguments);
    command.env_remove("PVIR_KERNEL").env_remove("PVIR_LOG");
    command.stdin(std::process::Stdio::null());
    command
}

/// A program that ignores no signal from its start, whatever has started the tests: `nohup` ignores SIGHUP, which `pvir`
/// respects.
pub(crate) fn with_default_signals(program: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", program]);
    command
}

/// Runs a guest to its end.
pub(crate) fn run(code: &Code, arguments: &[&str]) -> Output {
    pvir(&Kernel::new(&code.elf()), arguments).output().unwrap()
}

/// stdout without what `--json -` adds (its lines, and the end of a line that the guest left unfinished), and that.
pub(crate) fn split_json(output: &Output) -> (String, serde_json::Value) {
    let text = stdout(output);
    let (token, text) = text.split_once('\n').unwrap_or_default();
    let (guest, json) = text
        .split_once("@pvir-host ")
        .unwrap_or_else(|| panic!("no JSON in {text:?}, stderr {}", stderr(output)));
    assert_eq!(json.matches('\n').count(), 1, "one line: {json}");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(token.strip_prefix("@pvir-token "), json["token"].as_str(), "in {token}");
    (guest.to_owned(), json)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal, by the shell: a small system has no `kill` of its own.
pub(crate) fn send(child: &Child, signal: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill {signal} {}", child.id())]).status().unwrap();
    assert!(status.success(), "{signal} was not sent");
}

/// Waits for something that another process does.
pub(crate) fn eventually(done: impl FnMut() -> bool) -> bool {
    patience::until(Duration::from_secs(10), done)
}

/// Waits for the end of a process that has work to do. The time of a processor that it takes is progress: one that is held
/// by something takes none.
pub(crate) fn works_to_its_end(child: &mut Child) -> bool {
    let mut patience = patience::Patience::new(Duration::from_secs(10));
    let mut taken = processor_time(child);
    while child.try_wait().unwrap().is_none() {
        let now = processor_time(child);
        if now != taken {
            taken = now;
            patience.progress();
        }
        if patience.is_over() {
            return child.try_wait().unwrap().is_some();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// In user and kernel mode, in ticks (proc_pid_stat(5), fields 14 and 15).
fn processor_time(child: &Child) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).map(str::to_owned).collect()
}
