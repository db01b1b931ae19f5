//! Grantors of role memberships. Since PostgreSQL 16 a grantor must have the ADMIN option on the role.

use std::collections::HashSet;

use crate::formats::sql::{Token, tokens};

/// Tracks the role grants of a dump.
#[derive(Debug, Default)]
pub struct Memberships {
    /// Pairs of a role and a member with the ADMIN option, by the grants so far.
    passed_on: HashSet<(String, String)>,
}

impl Memberships {
    /// Removes `GRANTED BY` if that role may lack the ADMIN option on this server, such as the bootstrap superuser of
    /// the old server, who may have another name here, or a role that existed before.
    pub fn settle(&mut self, statement: &[u8]) -> Vec<u8> {
        let tokens = tokens(statement);
        let Some((role, member)) = membership(&tokens) else { return statement.to_vec() };
        let by = tokens.windows(2).position(|pair| pair[0].is("granted") && pair[1].is("by"));
        let grantor = by.and_then(|at| tokens.get(at + 2)?.name());
        let may_pass_on = grantor.map(|grantor| (role.clone(), grantor.to_owned()));
        let options = &tokens[4..by.unwrap_or(tokens.len()).max(4)];
        if options.iter().any(|token| token.is("admin")) && !options.iter().any(|token| token.is("false")) {
            self.passed_on.insert((role, member));
        }
        match (by, may_pass_on) {
            (Some(at), Some(pair)) if !self.passed_on.contains(&pair) => {
                [&statement[..tokens[at].at.start], b";"].concat()
            }
            _ => statement.to_vec(),
        }
    }
}

/// The role and the new member of `GRANT role TO member …`.
fn membership(tokens: &[Token]) -> Option<(String, String)> {
    match tokens {
        [grant, role, to, member, ..] if grant.is("grant") && to.is("to") => {
            Some((role.name()?.to_owned(), member.name()?.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantor_stays_only_where_the_dump_itself_lets_it_pass_the_role_on() {
        let mut memberships = Memberships::default();
        let mut settled = |text: &str| String::from_utf8(memberships.settle(text.as_bytes())).unwrap();
        let by_admin = "GRANT grp TO bob WITH INHERIT TRUE GRANTED BY admin;";
        assert_eq!(settled(by_admin).replace(" ;", ";"), "GRANT grp TO bob WITH INHERIT TRUE;");
        let option = "GRANT grp TO \"o p\" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY admin;";
        assert!(settled(option).starts_with("GRANT grp TO \"o p\" WITH ADMIN OPTION, INHERIT TRUE"));
        let passed_on = "GRANT grp TO carol WITH INHERIT TRUE GRANTED BY \"o p\";";
        assert_eq!(settled(passed_on), passed_on);
        for other in ["ALTER ROLE x WITH LOGIN;", "GRANT SET ON PARAMETER work_mem TO x;"] {
            assert_eq!(settled(other), other);
        }
    }
}
