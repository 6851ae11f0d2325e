//! As much of JSON Schema (draft 2020-12) as our own schemas use.

use regex::Regex;
use serde_json::{Map, Value};

/// Where and how a value is not as the schema says; none if it is.
///
/// # Panics
///
/// When the schema has a keyword that is not known here: it would not be checked.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { root: schema, found: &mut found }.check(schema, value, "");
    found
}

struct Check<'a> {
    root: &'a Value,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn check(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::Object(rules) = schema else {
            if schema == &Value::Bool(false) {
                self.wrong(path, "must not be there");
            }
            return;
        };
        for (keyword, rule) in rules {
            self.check_rule(rules, (keyword, rule), value, path);
        }
    }

    fn check_rule(
        &mut self,
        rules: &Map<String, Value>,
        (keyword, rule): (&str, &Value),
        value: &Value,
        path: &str,
    ) {
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" | "default" => {}
            "$ref" => {
                let name =
                    rule.as_str().and_then(|name| name.strip_prefix('#')).expect("a local ref");
                let target = self.root.pointer(name).unwrap_or_else(|| panic!("no {name}"));
                self.check(target, value, path);
            }
            "type" => self.check_type(rule, value, path),
            "const" if value != rule => self.wrong(path, &format!("{value} is not {rule}")),
            "enum" if !items(rule).contains(value) => {
                self.wrong(path, &format!("{value} is none of {rule}"));
            }
            "const" | "enum" => {}
            "anyOf" | "oneOf" => {
                let fits = |one: &&Value| self.fits(one, value, path);
                let fitting = items(rule).iter().filter(fits).count();
                if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
                    self.wrong(path, &format!("{value} fits {fitting} of {}", items(rule).len()));
                }
            }
            "required" => {
                for key in items(rule).iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(key).is_none() {
                        self.wrong(path, &format!("`{key}` is missing"));
                    }
                }
            }
            "properties" => {
                for (key, of_key) in rule.as_object().expect("properties") {
                    if let Some(member) = value.get(key) {
                        self.check(of_key, member, &format!("{path}/{key}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (key, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(key)) {
                        self.check(rule, member, &format!("{path}/{key}"));
                    }
                }
            }
            "items" | "prefixItems" | "minItems" | "maxItems" => {
                if let Some(members) = value.as_array() {
                    self.check_array((keyword, rule), members, path);
                }
            }
            "minimum" | "maximum" => {
                if let (Some(number), Some(bound)) = (value.as_f64(), rule.as_f64()) {
                    let fits = if keyword == "minimum" { number >= bound } else { number <= bound };
                    if !fits {
                        self.wrong(path, &format!("{number} is beyond {keyword} {bound}"));
                    }
                }
            }
            "pattern" => {
                let pattern = Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    self.wrong(path, &format!("{value} is not like {rule}"));
                }
            }
            unknown => panic!("`{unknown}` is not checked"),
        }
    }

    fn check_array(&mut self, (keyword, rule): (&str, &Value), members: &[Value], path: &str) {
        let length = members.len() as u64;
        let fits = match keyword {
            "minItems" => rule.as_u64().is_none_or(|bound| length >= bound),
            "maxItems" => rule.as_u64().is_none_or(|bound| length <= bound),
            _ => true,
        };
        if !fits {
            self.wrong(path, &format!("{length} items are beyond {keyword} {rule}"));
        }
        for (n, member) in members.iter().enumerate() {
            let of_member = match keyword {
                "items" => Some(rule),
                "prefixItems" => items(rule).get(n),
                _ => None,
            };
            if let Some(of_member) = of_member {
                self.check(of_member, member, &format!("{path}/{n}"));
            }
        }
    }

    fn check_type(&mut self, rule: &Value, value: &Value, path: &str) {
        let is = |name: &Value| match name.as_str() {
            Some("null") => value.is_null(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => panic!("{name} is no type"),
        };
        let fits = match rule {
            Value::Array(names) => names.iter().any(is),
            name => is(name),
        };
        if !fits {
            self.wrong(path, &format!("{value} is no {rule}"));
        }
    }

    fn fits(&self, schema: &Value, value: &Value, path: &str) -> bool {
        let mut found = Vec::new();
        Check { root: self.root, found: &mut found }.check(schema, value, path);
        found.is_empty()
    }

    fn wrong(&mut self, path: &str, what: &str) {
        let short: String = what.chars().take(200).collect();
        self.found.push(format!("{path}: {short}"));
    }
}

fn items(rule: &Value) -> &[Value] {
    rule.as_array().map_or(&[], Vec::as_slice)
}
