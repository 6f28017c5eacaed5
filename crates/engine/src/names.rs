//! The names by which rules look into JSON, to tell a member that one reader takes for another's.

use holdgate_protocol::{Json, json::folded};

/// The steps of pointers as a tree. Where an upstream folds the case of names, `Role` is what a rule calls `role`: to the
/// rule it would not be there.
#[derive(Debug, Default)]
pub struct Names(Vec<Name>);

#[derive(Debug)]
struct Name {
    folded: String,
    exact: String,
    below: Names,
}

impl Names {
    /// Adds the steps of a pointer.
    pub(crate) fn insert(&mut self, steps: &[String]) {
        let Some((exact, rest)) = steps.split_first() else { return };
        let key = (folded(exact), exact);
        let index = match self.0.binary_search_by(|name| (&name.folded, &name.exact).cmp(&(&key.0, key.1))) {
            Ok(index) => index,
            Err(index) => {
                let name = Name { folded: key.0, exact: exact.clone(), below: Names::default() };
                self.0.insert(index, name);
                index
            }
        };
        if let Some(name) = self.0.get_mut(index) {
            name.below.insert(rest);
        }
    }

    /// Whether a member stands where a rule looks, under a name that differs from the rule's in case only.
    pub fn misspelt(&self, json: &Json) -> bool {
        match json {
            _ if self.0.is_empty() => false,
            Json::Object(object) => object.iter().any(|(key, value)| {
                let folded = folded(key);
                let start = self.0.partition_point(|name| name.folded < folded);
                let mut near = self.0.iter().skip(start).take_while(|name| name.folded == folded).peekable();
                near.peek().is_some()
                    && near.find(|name| name.exact == key).is_none_or(|name| name.below.misspelt(value))
            }),
            Json::Array(_) => {
                self.0.iter().any(|name| json.step(&name.exact).is_some_and(|item| name.below.misspelt(item)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use holdgate_protocol::Pointer;

    use super::*;

    #[track_caller]
    fn check(json: &str, misspelt: bool) {
        let pointers =
            ["/role", "/user/Name", "/items/0/id", "/ID", "/id"].map(|text| text.parse::<Pointer>().unwrap());
        let mut names = Names::default();
        pointers.iter().for_each(|pointer| names.insert(pointer.steps()));
        assert_eq!(names.misspelt(&Json::parse(json.as_bytes()).unwrap()), misspelt, "{json}");
    }

    #[test]
    fn a_name_in_another_case_is_told_where_a_rule_looks_and_nowhere_else() {
        for fine in [
            r#"{"role":1,"user":{"Name":1},"items":[{"id":1}],"ID":1}"#,
            r#"{"spec":{"Role":1},"items":[{"x":1},{"ID":1}]}"#,
            r#"{"id":{"Role":1}}"#,
            "[1]",
            "\"Role\"",
        ] {
            check(fine, false);
        }
        for wrong in [
            r#"{"Role":1}"#,
            r#"{"user":{"name":1}}"#,
            r#"{"User":1}"#,
            r#"{"items":[{"Id":1}]}"#,
            r#"{"Id":1}"#,
            "{\"ro\u{17f}e\":1,\"ROLE\":1}",
        ] {
            check(wrong, true);
        }
    }
}
