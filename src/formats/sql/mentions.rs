//! Finds the roles, tablespaces and extensions that a statement of a dump needs on the server.
//!
//! Each statement in which pg_dump names these is parsed by the server's grammar (gram.y) from its first word, because
//! the same words elsewhere are names of columns, tables or functions.

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;

/// Objects named in a statement that belong to the server, not to the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Roles by name, without keywords such as `PUBLIC`.
    pub roles: Vec<String>,
    /// Those roles that become owners or whose default privileges are changed.
    pub owners: Vec<String>,
    /// The role that must be a superuser, because the server allows no other owner of such an object.
    pub superuser: Option<String>,
    /// The tablespace of an object.
    pub tablespace: Option<String>,
    /// The extension created by the statement.
    pub extension: Option<Extension>,
}

/// An extension created by a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its schema, if given.
    pub schema: Option<String>,
    /// Its version, if given.
    pub version: Option<String>,
}

impl Mentions {
    /// Parses a statement that starts with `head`.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let length = head.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let mut mentions = Self::default();
        let read = match &head[..length].to_ascii_lowercase()[..] {
            b"alter" => Self::alter,
            b"create" => Self::create,
            b"grant" | b"revoke" => Self::grant,
            b"set" => Self::set,
            _ => return mentions,
        };
        read(&mut mentions, &mut Cursor::new(head));
        mentions
    }

    fn alter(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["alter"]);
        if cursor.eat(&["default", "privileges"]) {
            if cursor.eat(&["for", "role"]) || cursor.eat(&["for", "user"]) {
                self.owners = cursor.roles();
                self.roles.extend(self.owners.clone());
            }
            cursor.skip_past(&["grant", "revoke"]);
            return self.grantees(cursor);
        }
        if cursor.sees(&["role"]) || cursor.sees(&["user"]) && !cursor.sees(&["user", "mapping"]) {
            cursor.eat(&["role"]);
            cursor.eat(&["user"]);
            self.roles.extend(cursor.role());
            return;
        }
        let needs_superuser = OWNED_BY_SUPERUSERS.iter().any(|kind| cursor.sees(kind));
        skip_kind(cursor);
        cursor.eat(&["if", "exists"]);
        cursor.eat(&["only"]);
        cursor.skip_qualified_name();
        cursor.skip_parentheses();
        if cursor.eat(&["using"]) {
            cursor.skip_qualified_name();
        }
        if cursor.eat(&["owner", "to"]) {
            let owner = cursor.role();
            self.superuser = owner.clone().filter(|_| needs_superuser);
            self.owners.extend(owner.clone());
            self.roles.extend(owner);
        } else if cursor.eat(&["set", "tablespace"]) {
            self.tablespace = cursor.name();
        } else if cursor.eat(&["add", "constraint"]) {
            cursor.skip_past(&["key", "unique"]);
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        }
    }

    fn create(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["create"]);
        if cursor.eat(&["policy"]) {
            cursor.name();
            cursor.eat(&["on"]);
            cursor.skip_qualified_name();
            if cursor.eat(&["as"]) {
                cursor.name();
            }
            if cursor.eat(&["for"]) {
                cursor.name();
            }
            if cursor.eat(&["to"]) {
                self.roles.extend(cursor.roles());
            }
        } else if cursor.eat(&["user", "mapping"]) {
            cursor.eat(&["if", "not", "exists"]);
            if cursor.eat(&["for"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["schema"]) {
            cursor.eat(&["if", "not", "exists"]);
            if !cursor.sees(&["authorization"]) {
                cursor.name();
            }
            if cursor.eat(&["authorization"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["extension"]) {
            self.extension = extension(cursor);
        } else if cursor.eat(&["tablespace"]) {
            cursor.name();
            if cursor.eat(&["owner"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["database"]) {
            cursor.name();
            self.database_clauses(cursor);
        } else {
            self.create_relation(cursor);
        }
    }

    /// Parses the clauses of CREATE DATABASE. Their values are not keywords.
    fn database_clauses(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["with"]);
        while let Some(clause) = cursor.name() {
            if clause == "connection" {
                cursor.eat(&["limit"]);
            }
            cursor.eat_sign(b'=');
            match clause.as_str() {
                "owner" => self.roles.extend(cursor.role()),
                "tablespace" => self.tablespace = cursor.name(),
                _ if cursor.name_or_string().is_some() => {}
                _ => cursor.skip_operator(),
            }
        }
    }

    /// Parses a table, an index or a materialized view.
    fn create_relation(&mut self, cursor: &mut Cursor) {
        for word in ["global", "local", "temporary", "temp", "unlogged", "unique", "foreign"] {
            cursor.eat(&[word]);
        }
        if cursor.eat(&["table"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_qualified_name();
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        } else if cursor.eat(&["index"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_past(&["on"]);
            cursor.eat(&["only"]);
            cursor.skip_qualified_name();
            if cursor.eat(&["using"]) {
                cursor.name();
            }
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        } else if cursor.eat(&["materialized", "view"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_qualified_name();
            cursor.skip_parentheses();
            if cursor.eat(&["using"]) {
                cursor.name();
            }
            if cursor.eat(&["with"]) {
                cursor.skip_parentheses();
            }
            if cursor.eat(&["tablespace"]) {
                self.tablespace = cursor.name();
            }
        }
    }

    /// Parses the TABLESPACE clause after the columns of a table, an index or a constraint.
    fn tablespace_clause(&mut self, cursor: &mut Cursor) {
        // In the query after `as` and the condition after `where`, `tablespace` would be a name.
        if cursor.skip_past(&["tablespace", "as", "where"]) && cursor.is_past("tablespace") {
            self.tablespace = cursor.name();
        }
    }

    fn grant(&mut self, cursor: &mut Cursor) {
        self.grantees(cursor);
    }

    /// Parses the roles that get or lose privileges. When a role is granted, that role is included.
    fn grantees(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["grant"]);
        cursor.eat(&["revoke"]);
        let mut granted = cursor.clone();
        if !granted.skip_past(&["on"]) {
            let mut granted = cursor.clone();
            for option in ["admin", "inherit", "set"] {
                granted.eat(&[option, "option", "for"]);
            }
            self.roles.extend(granted.roles());
        }
        if cursor.skip_past(&["to", "from"]) {
            self.roles.extend(cursor.roles());
            if cursor.skip_past(&["granted"]) && cursor.eat(&["by"]) {
                self.roles.extend(cursor.role());
            }
        }
    }

    fn set(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["set"]);
        cursor.eat(&["local"]);
        if cursor.eat(&["session", "authorization"]) || cursor.eat(&["role"]) {
            let is_word = cursor.sees(&["default"]) || cursor.sees(&["none"]);
            self.roles.extend(cursor.name_or_string().filter(|_| !is_word));
        } else if cursor.eat(&["default_tablespace"]) && (cursor.eat_sign(b'=') || cursor.eat(&["to"])) {
            self.tablespace = cursor.name_or_string().filter(|name| !name.is_empty());
        }
    }
}

/// Objects only superusers may own: EVENT TRIGGER and FOREIGN DATA WRAPPER in every version, SUBSCRIPTION up to 15.
const OWNED_BY_SUPERUSERS: [&[&str]; 3] =
    [&["event", "trigger"], &["foreign", "data", "wrapper"], &["subscription"]];

/// Kinds of object of several words, or after which a name could be taken for a second word.
const KINDS: [&[&str]; 18] = [
    &["foreign", "table"],
    &["foreign", "data", "wrapper"],
    &["materialized", "view"],
    &["text", "search", "configuration"],
    &["text", "search", "dictionary"],
    &["text", "search", "parser"],
    &["text", "search", "template"],
    &["event", "trigger"],
    &["procedural", "language"],
    &["trusted", "language"],
    &["large", "object"],
    &["access", "method"],
    &["user", "mapping", "for"],
    &["operator", "class"],
    &["operator", "family"],
    &["table"],
    &["operator"],
    &["schema"],
];

/// Skips the kind of an object.
pub(super) fn skip_kind(cursor: &mut Cursor) {
    let kind = KINDS.iter().find(|kind| cursor.sees(kind) && !cursor.is_qualified(kind.len()));
    match kind {
        Some(kind) => drop(cursor.eat(kind)),
        None => drop(cursor.name()),
    }
}

fn extension(cursor: &mut Cursor) -> Option<Extension> {
    cursor.eat(&["if", "not", "exists"]);
    let (name, mut schema, mut version) = (cursor.name()?, None, None);
    cursor.eat(&["with"]);
    loop {
        match () {
            () if cursor.eat(&["schema"]) => schema = cursor.name(),
            () if cursor.eat(&["version"]) => version = cursor.name_or_string(),
            () if cursor.eat(&["cascade"]) => {}
            () => return Some(Extension { name, schema, version }),
        }
    }
}

#[cfg(test)]
mod tests;
