//! The conformance suite's list against `docs/abi.md`: nothing of the page may be missing, and nothing invented.

use pvir_test_kernel::statements::{Kind, STATEMENTS, STATUSES, Statement};

const PAGE: &str = include_str!("../../docs/abi.md");

fn ids(list: &[Statement]) -> Vec<&str> {
    list.iter().map(|statement| statement.id).collect()
}

#[test]
fn every_statement_of_the_page_is_in_the_list_and_no_other() {
    let page: Vec<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .map(|line| line.split("**").next().unwrap())
        .collect();
    let (mut page, mut list) = (page, ids(STATEMENTS));
    page.sort_unstable();
    list.sort_unstable();
    assert_eq!(page, list);
}

#[test]
fn every_status_of_the_page_is_in_the_list_and_no_other() {
    let table = PAGE.split("<!-- statuses -->").nth(1).unwrap().trim_start();
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    let page: Vec<&str> = rows.map(|row| row.split('|').nth(2).unwrap().trim()).collect();
    assert_eq!(page, ids(STATUSES));
}

#[test]
fn what_no_guest_can_see_has_a_reason() {
    for Statement { id, title, kind } in STATEMENTS.iter().chain(STATUSES) {
        assert!(!title.is_empty() && !title.contains('#'), "{id}: TAP takes # for a directive");
        if let Kind::NotObservable(reason) = kind {
            assert!(reason.len() > 10, "{id}: {reason}");
        }
    }
}

/// The table of `docs/conformance.md`, as it must be.
fn table() -> String {
    let row = |statement: &Statement| match statement.kind {
        Kind::Observed => format!("| {} | {} | judged |", statement.id, statement.title),
        Kind::NotObservable(reason) => {
            format!("| {} | {} | not observable: {reason} |", statement.id, statement.title)
        }
    };
    STATEMENTS.iter().chain(STATUSES).map(|statement| row(statement) + "\n").collect()
}

#[test]
fn the_documentation_has_the_list() {
    const HEAD: &str = "<!-- statements -->\n| statement | what is judged | |\n|---|---|---|\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, after) = text.split_once(HEAD).unwrap();
    if std::env::var_os("PVIR_BLESS").is_some() {
        std::fs::write(path, format!("{before}{HEAD}{}", table())).unwrap();
    } else {
        assert_eq!(after, table(), "help: PVIR_BLESS=1 writes it anew");
    }
}
