//! Whether those who decided were given the role for it before, and had it still.

use std::collections::{HashMap, HashSet};

use super::finding::{FindingKind, Findings};
use crate::Json;

/// What persons were given, and not taken.
#[derive(Debug, Default)]
pub(super) struct People {
    /// Roles by person, each with the id of its eligibility.
    roles: HashMap<String, Vec<(String, String)>>,
    suspended: HashSet<String>,
}

impl People {
    /// Takes what an entry says of persons.
    pub(super) fn take(&mut self, kind: &str, data: &Json, line: u64, seq: u64, findings: &mut Findings) {
        let text = |name: &str| data.member(&[name]).and_then(Json::as_str);
        let (id, person, role) = (text("id"), text("person"), text("role"));
        match kind {
            "eligibility.granted" => {
                if let (Some(id), Some(person), Some(role)) = (id, person, role) {
                    self.roles.entry(person.to_owned()).or_default().push((id.to_owned(), role.to_owned()));
                }
            }
            "eligibility.ended" => {
                if let Some(roles) = person.and_then(|person| self.roles.get_mut(person)) {
                    roles.retain(|(known, _)| Some(known.as_str()) != id);
                }
            }
            "person.suspended" => self.suspended.extend(person.map(ToOwned::to_owned)),
            "person.resumed" => drop(person.map(|person| self.suspended.remove(person))),
            "hold.approval" | "hold.approved" | "hold.denied" => {
                let escalated = matches!(data.member(&["escalated"]), Some(Json::Bool(true)));
                let own = person.and_then(|person| self.roles.get(person)).map_or(&[][..], Vec::as_slice);
                let has = own.iter().any(|(_, known)| escalated || Some(known.as_str()) == role);
                if !has || person.is_some_and(|person| self.suspended.contains(person)) {
                    let shown: String = person.unwrap_or_default().chars().take(64).collect();
                    findings.add(FindingKind::Course, line, Some(seq), || {
                        format!("entry {seq} is `{kind}` by `{}`, who had not the role for it", shown.escape_debug())
                    });
                }
            }
            _ => {}
        }
    }
}
