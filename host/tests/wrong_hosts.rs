//! The wrong hosts of the code are those of `docs/conformance.md`.

use pvir_host::wrong::Wrong;

const PAGE: &str = include_str!("../../docs/conformance.md");
const CONTRACT: &str = include_str!("../../docs/abi.md");

#[test]
fn the_documentation_has_every_wrong_host() {
    let table = PAGE.split("<!-- wrong hosts -->").nth(1).unwrap().trim_start();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).skip(2).collect();
    let code: Vec<String> =
        Wrong::ALL.iter().map(|(_, name, breaks)| format!("| `{name}` | {breaks} |")).collect();
    assert_eq!(rows, code);
}

#[test]
fn each_breaks_a_statement_or_a_status_of_the_contract() {
    assert!(Wrong::ALL.len() >= 15);
    for (_, name, breaks) in Wrong::ALL {
        let stands = [format!("- **{breaks}** "), format!(" | {breaks} | ")];
        assert!(stands.iter().any(|text| CONTRACT.contains(text)), "{name}: {breaks}");
    }
    let mut names: Vec<&str> = Wrong::ALL.iter().map(|(_, name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Wrong::ALL.len());
}

#[cfg(not(feature = "wrong-host"))]
#[test]
fn an_honest_host_is_never_wrong() {
    assert!(Wrong::ALL.iter().all(|(wrong, ..)| !pvir_host::wrong::is(*wrong)));
}
