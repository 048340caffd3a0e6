//! SECURITY.md's threat table is true: each test that it names is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table: attack, outcome, and the tests' names.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md");
    let (_, table) = text.split_once("## The threat table").expect("its heading");
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.contains("| test |"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The names between backticks in a row's last cell.
fn names(row: &[String]) -> Vec<&str> {
    let cell = row.last().expect("a cell");
    cell.split('`').skip(1).step_by(2).collect()
}

/// Where the test with this path may be: `attacks::gate::name` in the
/// integration tests, `net::gate::tests::name` beside the code.
fn places(path: &str) -> Vec<PathBuf> {
    let folders = path.replace("::", "/");
    let outer = folders.strip_suffix("/tests").unwrap_or(&folders);
    let it = root().join("tests/it");
    let src = root().join("src");
    [&folders, outer]
        .iter()
        .flat_map(|module| {
            let (file, folder) = (format!("{module}.rs"), format!("{module}/mod.rs"));
            [it.join(&file), it.join(&folder), src.join(&file), src.join(&folder)]
        })
        .filter(|place| place.is_file())
        .collect()
}

/// Whether the source has a test of this name: a function behind `#[test]`, or
/// a row of `attacks!`.
fn has_test(source: &str, name: &str) -> bool {
    let row = format!("fn {name}() => ");
    let function = format!("fn {name}() {{");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(number, line)| {
        let before = lines[..number].iter().rev();
        line.starts_with(&row)
            || line.starts_with(&function)
                && before.take_while(|line| line.starts_with('#')).any(|line| *line == "#[test]")
    })
}

#[test]
fn each_test_that_the_threat_table_names_is_there() {
    for row in rows() {
        assert_eq!(row.len(), 3, "{row:?}");
        let names = names(&row);
        assert!(!names.is_empty(), "no test: {row:?}");
        for path in names {
            let (module, name) = path.rsplit_once("::").expect(path);
            let found = places(module)
                .iter()
                .any(|place| has_test(&fs::read_to_string(place).expect("read"), name));
            assert!(found, "there is no test {path}: {row:?}");
        }
    }
}

#[test]
fn there_are_at_least_sixty_attacks_each_with_a_test_of_its_own() {
    let rows = rows();
    let named: BTreeSet<_> = rows.iter().flat_map(|row| names(row)).collect();
    assert!(rows.len() >= 60 && named.len() >= 60, "{} rows, {} tests", rows.len(), named.len());
}

#[test]
fn a_test_is_known_by_its_attribute() {
    let source = "#[test]\n#[ignore]\nfn a() {\n}\nfn b() {\n}\n    fn c() => 1, 2;\n";
    assert!(has_test(source, "a") && has_test(source, "c"));
    assert!(!has_test(source, "b") && !has_test(source, "d"));
}
