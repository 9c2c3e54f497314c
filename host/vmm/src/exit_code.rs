//! The process's exit codes.

/// The command line was wrong (clap itself exits with this number).
pub(crate) const USAGE: u8 = 2;
/// This machine, a device or a file does not let the run start.
pub(crate) const ENVIRONMENT: u8 = 3;
/// The guest, or the VMM under it, cannot go on.
pub(crate) const CRASH: u8 = 4;
/// The guest came to a good end, and what was to be written was lost.
pub(crate) const OUTPUT_LOST: u8 = 5;
/// The sandbox stopped a thread of this program: 128 + SIGSYS, as a shell has it for that signal.
pub(crate) const SANDBOX: u8 = 159;
/// `--timeout` passed, as with timeout(1).
pub(crate) const TIMEOUT: u8 = 124;
/// Ctrl-C or SIGTERM: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// What `--help` says of exit codes.
pub(crate) const HELP: &str = "Exit codes:
  0..255  the guest's own code, as it wrote it to the exit port 0xf4 (above
          255: 255); 0 also when it reset the machine or switched it off
  2       wrong command line
  3       the run could not start: /dev/kvm, permissions, device, kernel file,
          isolation
  4       the guest crashed (triple fault, instruction that this KVM cannot
          run) or the VMM or a host device failed under it
  5       the guest ended with 0, but its output or a report was not written
  124     --timeout passed
  130     Ctrl-C, SIGTERM, SIGHUP or SIGQUIT; a second one ends pvir at once
  159     the sandbox stopped a thread of pvir (--sandbox); stderr names the
          system call

Where a guest's own code may be one of these, the field `outcome` of --json
tells them apart.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_code() {
        for code in [USAGE, ENVIRONMENT, CRASH, OUTPUT_LOST, TIMEOUT, INTERRUPTED, SANDBOX] {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code} is not in the help");
        }
    }

    #[test]
    fn help_fits_a_terminal_as_it_is_broken() {
        assert!(HELP.lines().all(|line| line.len() < 80));
    }
}
