//! Characters in names that some file systems reject.

/// Rejected by exFAT, FAT, NTFS and SMB, besides control characters.
const REFUSED: [char; 8] = ['"', '*', ':', '<', '>', '?', '\\', '|'];

/// Whether every file system accepts the name, apart from its length.
pub(in crate::store::catalog) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !REFUSED.contains(&c);
    name.chars().all(is_plain) && !name.ends_with(['.', ' '])
}

/// The characters of a name that some file systems reject, for messages.
pub(in crate::store::catalog) fn unusual(name: &str) -> String {
    let mut found: Vec<char> = Vec::new();
    for c in name.chars().filter(|c| !is_plain(&c.to_string())) {
        if !found.contains(&c) && (c != '.' && c != ' ') {
            found.push(c);
        }
    }
    found.extend(name.chars().last().filter(|last| ['.', ' '].contains(last)));
    found.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unusual_characters_of_a_name_are_told() {
        for (name, told) in [
            ("app-20260101-000000.sql.gz", ""),
            ("my app-20260101.sql", ""),
            ("a:b?c:d-20260101.sql", "':' '?'"),
            ("app-20260101.sql.", "'.'"),
            ("caf\u{e9}\u{7f}-20260101.sql", "'\u{e9}' '\\u{7f}'"),
        ] {
            assert_eq!(unusual(name), told, "{name}");
            assert_eq!(is_plain(name), told.is_empty(), "{name}");
        }
    }
}
