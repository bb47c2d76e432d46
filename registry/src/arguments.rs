//! Joins arguments with parameters by name and by position, for calls and steps that no compiler has seen.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use taskport_abstraction::task::Parameter;
use taskport_abstraction::text::nearest;
use taskport_abstraction::{Error, Payload, Result, TaskDefinition, codes};

use crate::schema::{Known, Shape, Types};
use crate::shown;

/// Arguments as they are given.
pub(crate) struct Given<'a, V> {
    pub(crate) positional: Vec<V>,
    pub(crate) named: Vec<(&'a str, V)>,
}

/// Finds the parameter of each argument, and says which argument has none and which parameter goes without.
pub(crate) fn join<'t, V>(
    task: &'t TaskDefinition,
    given: Given<'_, V>,
    found: &mut dyn FnMut(String),
) -> Vec<(&'t Parameter, V)> {
    let parameters = &task.parameters;
    let mut taken = vec![false; parameters.len()];
    let mut joined = Vec::with_capacity(parameters.len());
    if given.positional.len() > parameters.len() && !task.extra_arguments {
        let (given, taken) = (given.positional.len(), parameters.len());
        found(format!("{given} positional arguments are given, and task `{}` takes {taken}", task.name));
    }
    for (place, value) in given.positional.into_iter().enumerate().take(parameters.len()) {
        taken[place] = true;
        joined.push((&parameters[place], value));
    }
    for (name, value) in given.named {
        match parameters.iter().position(|parameter| parameter.name == name) {
            Some(place) if taken[place] => found(format!("argument `{name}` is given twice")),
            Some(place) => {
                taken[place] = true;
                joined.push((&parameters[place], value));
            }
            None if task.extra_arguments => {}
            None => found(unknown(task, name)),
        }
    }
    for (parameter, taken) in parameters.iter().zip(taken) {
        if parameter.required && !taken {
            found(format!("argument `{}` of task `{}` is missing", parameter.name, task.name));
        }
    }
    joined
}

fn unknown(task: &TaskDefinition, name: &str) -> String {
    let names = task.parameters.iter().map(|parameter| parameter.name.as_ref());
    let problem = format!("task `{}` has no parameter `{}`", task.name, shown(name));
    match nearest(name, names.clone()) {
        Some(near) => format!("{problem}; did you mean `{near}`?"),
        None if task.parameters.is_empty() => format!("{problem}: it takes no arguments"),
        None => format!("{problem}; it has {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// Checks the arguments document of a call that may not have been made by the task's own function.
///
/// Every submit passes here, so values are told apart by how they begin and are not taken apart: what is wrong deeper
/// inside, the attempt says.
pub(crate) fn check_arguments(task: &TaskDefinition, arguments: &Payload) -> Result<()> {
    let Document(positional, Named(named)) =
        serde_json::from_slice(arguments.as_json()?).map_err(|source| {
            let message = "the arguments are not of the form [[positional], {named}]";
            Error::new(&codes::UNDECODABLE, "check", message).caused_by(source)
        })?;
    let named = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut problems = Vec::new();
    for (parameter, value) in join(task, Given { positional, named }, &mut |problem| problems.push(problem)) {
        let known = Known::Of(Types::of_json(value.get()));
        if let Some(mismatch) = known.mismatch(Shape::new(&parameter.schema)) {
            problems.push(format!("argument `{}`{mismatch}", parameter.name));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(&codes::BAD_ARGUMENTS, "check", problems.join("; ")))
}

/// `[[positional, …], {"name": value, …}]`.
#[derive(Deserialize)]
struct Document<'a>(#[serde(borrow)] Vec<&'a RawValue>, #[serde(borrow)] Named<'a>);

/// The named part as a list, so that a name given twice is seen.
struct Named<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of named arguments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taskport_abstraction::TaskName;
    use taskport_abstraction::task::Location;

    use super::*;

    fn task(extra_arguments: bool) -> TaskDefinition {
        let location = Location { file: "app.rs".into(), line: 3 };
        let parameter = |name: &'static str, kind: &str, required| Parameter {
            name: name.into(),
            schema: json!({ "type": kind }),
            required,
        };
        TaskDefinition {
            parameters: vec![parameter("title", "string", true), parameter("pages", "integer", false)],
            extra_arguments,
            ..TaskDefinition::new(TaskName::new("render").unwrap(), location)
        }
    }

    #[test]
    fn the_wrong_argument_is_named_before_the_submit() {
        for (document, expected) in [
            (r#"[["Q3",12],{}]"#, None),
            (r#"[[],{"title":"Q3"}]"#, None),
            (r#"[[],{}]"#, Some("argument `title` of task `render` is missing")),
            (r#"[["Q3",1,2],{}]"#, Some("3 positional arguments are given, and task `render` takes 2")),
            (r#"[["Q3"],{"title":"Q3"}]"#, Some("argument `title` is given twice")),
            (r#"[[],{"title":"Q3","title":"Q4"}]"#, Some("argument `title` is given twice")),
            (r#"[["Q3"],{"page":1}]"#, Some("task `render` has no parameter `page`; did you mean `pages`?")),
            (r#"[["Q3"],{"color":1}]"#, Some("task `render` has no parameter `color`; it has title, pages")),
            (r#"[["Q3","12"],{}]"#, Some("argument `pages` takes an integer, and is given a string")),
            (
                r#"[[1],{"pages":null}]"#,
                Some(
                    "argument `title` takes a string, and is given an integer; \
                     argument `pages` takes an integer, and is given null",
                ),
            ),
        ] {
            let checked = check_arguments(&task(false), &Payload::json(document));
            let message = checked.err().map(|error| error.message().to_owned());
            assert_eq!(message.as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn extra_arguments_are_let_through_where_the_task_reads_them_by_itself() {
        let extra = Payload::json(r#"[["Q3",1,"x"],{"color":"red"}]"#);
        assert!(check_arguments(&task(true), &extra).is_ok());
        assert!(check_arguments(&task(true), &Payload::json("[[1],{}]")).is_err());
    }

    #[test]
    fn malformed_documents_are_corrupt() {
        for document in ["", "{}", "[[]]", "[[],[]]", "[[],{},1]", r#"[[],{"a":}]"#] {
            let error = check_arguments(&task(true), &Payload::json(document)).unwrap_err();
            assert_eq!(error.code(), &codes::UNDECODABLE, "{document}");
        }
    }
}
