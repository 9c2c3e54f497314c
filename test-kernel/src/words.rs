//! What the kernel can do, chosen by a word on the command line.

use crate::machine::boot::BootInfo;
use crate::machine::console::report;
use crate::machine::exit::ExitCode;
use crate::tests::Word;
use crate::{bench, conformance, println, tests};

/// Does what the command line asks for.
pub(crate) fn run(boot: &BootInfo) -> ExitCode {
    let line = boot.command_line;
    let products: [(&str, Word); 2] = [("conformance", conformance::run), ("bench", bench::run)];
    let words = || products.iter().chain(&tests::WORDS);
    if let Some((_, word)) = words().find(|(name, _)| line.flag(name)) {
        return word(line).unwrap_or_else(|why_not| why_not);
    }
    if let Some(how) = line.value("crash") {
        return tests::crash(how);
    }
    println!("nothing to do (help: one of these on the command line)");
    for (name, _) in words() {
        println!("  {name}");
    }
    report::result("fail", |result| {
        result.str("error", "nothing to do");
    });
    ExitCode::Usage
}
