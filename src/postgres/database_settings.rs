//! Settings of a database as SQL statements.

use super::quote::{identifier, literal, one_line_literal};
use crate::store::catalog::Setting;

/// Settings whose value is a list of quoted names. PostgreSQL does not let extensions add one.
const NAME_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The statements that apply settings to `database`, one per line.
pub fn setting_statements<'s>(
    settings: impl IntoIterator<Item = &'s Setting>,
    database: &str,
) -> Vec<String> {
    let name = identifier(database);
    let statement = |setting: &Setting| {
        let whom = match &setting.role {
            Some(role) => format!("ROLE {} IN DATABASE {name}", identifier(role)),
            None => format!("DATABASE {name}"),
        };
        format!("ALTER {whom} SET {} TO {};", identifier(setting.parts().0), setting_value(setting))
    };
    settings.into_iter().map(statement).collect()
}

/// Whether a setting switches sessions to another role. The load must not run with it.
pub fn changes_rights(variable: &str) -> bool {
    ["role", "session_authorization"].iter().any(|name| variable.eq_ignore_ascii_case(name))
}

/// The value of a setting in SQL, after `SET name TO`.
pub fn setting_value(setting: &Setting) -> String {
    let (variable, value) = setting.parts();
    value_of(variable, value)
}

fn value_of(variable: &str, value: &str) -> String {
    if !NAME_LISTS.contains(&variable.to_ascii_lowercase().as_str()) {
        return one_line_literal(value);
    }
    let names: Vec<String> = split_names(value).iter().map(|name| one_line_literal(name)).collect();
    if names.is_empty() { literal("") } else { names.join(", ") }
}

/// Splits a list of names at commas; a name in double quotes may contain any character.
fn split_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut characters = list.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => (quoted, any) = (!quoted, true),
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                any = true;
            }
            c if c.is_whitespace() && !quoted => {}
            c => {
                name.push(c);
                any = true;
            }
        }
    }
    if any {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_split_outside_quotes() {
        assert_eq!(split_names(r#""a,b" , c"d"#), ["a,b", "cd"]);
        assert_eq!(split_names(r#""a""b", """#), [r#"a"b"#, ""]);
        assert_eq!(split_names(""), Vec::<String>::new());
        assert_eq!(value_of("search_path", r#""""#), "''");
    }
}
