//! What watches, and which tests it is not given.

use std::process::{Command, Stdio};

use crate::process;

/// A test or a module, and why it is left out.
pub(super) type LeftOut = (&'static str, &'static str);

/// One way of running tests.
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// Whether it is the nightly compiler's.
    pub(super) nightly: bool,
    /// Arguments of cargo, `test` among them.
    pub(super) arguments: &'static [&'static str],
    pub(super) environment: &'static [(&'static str, &'static str)],
    pub(super) packages: &'static [Package],
}

/// A package whose unit tests are run.
pub(super) struct Package {
    pub(super) name: &'static str,
    /// Modules that cannot run.
    pub(super) skipped: &'static [LeftOut],
    /// Single tests of other modules.
    pub(super) without: &'static [LeftOut],
}

const TARGET: &str = "x86_64-unknown-linux-gnu";
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
/// What takes a second becomes minutes under these tools, and shows what fewer of the same shows too.
const LONG: &str = "it is one loop over millions of values of plain arithmetic";
const KERNEL: &str = "it makes system calls that Miri does not know";

impl Tool {
    /// What of it this machine lacks.
    pub(super) fn missing(&self) -> Option<String> {
        let succeeds = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if self.nightly && !succeeds("rustup", &["run", "nightly", "rustc", "--version"]) {
            return Some("there is no nightly toolchain (rustup toolchain install nightly)".into());
        }
        if self.name == "miri" && !succeeds("rustup", &["run", "nightly", "cargo", "miri", "--version"]) {
            return Some(
                "nightly has no Miri (rustup component add --toolchain nightly miri rust-src)".into(),
            );
        }
        if self.name == "valgrind" && process::find("valgrind").is_none() {
            return Some("there is no valgrind".into());
        }
        None
    }
}

const GUEST: Package = Package {
    name: "pvir-guest",
    skipped: &[],
    without: &[("words_that_are_being_given_back_are_nobody_elses_yet", "loom tries all of its orders")],
};

const HOST: Package = Package {
    name: "pvir-host",
    skipped: &[],
    without: &[
        ("every_routing_byte_is_validated", LONG),
        ("logical_ids_name_the_vcpu_of_every_id_that_has_one", LONG),
        ("every_vector_and_every_bit_of_the_address_is_validated", LONG),
    ],
};

pub(super) const MIRI: [Tool; 1] = [Tool {
    name: "miri",
    nightly: true,
    arguments: &["miri", "test"],
    // Time and files of the machine; proptest looks for its file of failures. The driver keeps its memory for ever, which tests
    // give it by leaking.
    environment: &[("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks"), ("PROPTEST_CASES", "4")],
    packages: &[
        Package { name: "pvir-abi", skipped: &[], without: &[] },
        Package {
            name: "pvir-guest",
            skipped: &[],
            without: &[
                ("words_that_are_being_given_back_are_nobody_elses_yet", "loom tries all of its orders"),
                ("as_many_places_as_irtes_hold_nearly_all", LONG),
            ],
        },
        Package {
            name: "pvir-host",
            skipped: &[
                ("conduit", KERNEL),
                ("counters", KERNEL),
                ("device", KERNEL),
                ("eventfd", KERNEL),
                ("fake", KERNEL),
                ("function", KERNEL),
                ("isolation", KERNEL),
                ("kvm", KERNEL),
                ("line", KERNEL),
                ("mapping", KERNEL),
                ("memory", KERNEL),
                ("service", KERNEL),
                ("vfio", KERNEL),
            ],
            without: &[
                ("every_routing_byte_is_validated", LONG),
                ("logical_ids_name_the_vcpu_of_every_id_that_has_one", LONG),
                ("every_vector_and_every_bit_of_the_address_is_validated", LONG),
                ("irte::table", KERNEL),
                ("lines_past_the_limit_are_not_even_formatted", LONG),
            ],
        },
    ],
}];

const WITH_STD: &[&str] = &["test", "-Zbuild-std", "--target", TARGET];

/// SIGBUS is the library's own, as in a VMM, and what it does with it is tested: `handle_sigbus=0`.
pub(super) const SANITIZERS: [Tool; 3] = [
    Tool {
        name: "address",
        nightly: true,
        arguments: WITH_STD,
        environment: &[
            ("RUSTFLAGS", "-Zsanitizer=address"),
            ("ASAN_OPTIONS", "detect_leaks=0:handle_sigbus=0"),
        ],
        packages: &[GUEST, HOST],
    },
    Tool {
        name: "leak",
        nightly: true,
        arguments: WITH_STD,
        environment: &[("RUSTFLAGS", "-Zsanitizer=leak"), ("LSAN_OPTIONS", "handle_sigbus=0")],
        packages: &[HOST],
    },
    Tool {
        name: "thread",
        nightly: true,
        arguments: WITH_STD,
        environment: &[("RUSTFLAGS", "-Zsanitizer=thread"), ("TSAN_OPTIONS", "handle_sigbus=0")],
        packages: &[GUEST, HOST],
    },
];

pub(super) const VALGRIND: [Tool; 1] = [Tool {
    name: "valgrind",
    nightly: false,
    arguments: &["test", "--target", TARGET],
    environment: &[(
        RUNNER,
        "valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --fair-sched=yes",
    )],
    packages: &[HOST],
}];
