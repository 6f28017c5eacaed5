//! One request in two forms: as the engine sees it, and as variables of the `cel` crate.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{Context, ExecutionError, IdedExpr, ParseErrors, Value, parser::Parser};
use holdgate_engine::{Body, Caller, Expr, Field, Mcp, Request, Truth};
use holdgate_protocol::{Json, Pointer, bundle::Effect};

/// The attributes of a request as one JSON value, in the way in which `when` names them.
///
/// `agent.exists` is always there, and tags are the claims of their names.
#[derive(Clone)]
pub(super) struct Subject(pub(super) Json);

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.to_jcs()))
    }
}

impl Subject {
    /// A request of which only the body matters.
    pub(super) fn with_body(body: Json) -> Subject {
        Subject(Json::object([("body", body)]))
    }

    /// What a lowered expression says about it.
    pub(super) fn truth(&self, expr: &Expr, effect: Effect) -> Truth {
        let empty = Json::object([]);
        let text = |pointer: &str| self.at(pointer).and_then(Json::as_str);
        let fields = |pointer: &str| -> Vec<Field<'_>> {
            let members = self.at(pointer).and_then(Json::as_object).into_iter().flat_map(|object| object.iter());
            members.map(|(name, value)| Field { name, value: value.as_str() }).collect()
        };
        let caller = Caller {
            iss: text("/agent/issuer").unwrap_or_default(),
            id: text("/agent/id").unwrap_or_default(),
            owner: text("/agent/owner"),
            claims: self.at("/agent/claims").unwrap_or(&empty),
        };
        let (query, headers) = (fields("/http/query"), fields("/http/headers"));
        let [method, host, path] = ["method", "host", "path"].map(|name| text(&format!("/http/{name}")).unwrap_or("x"));
        let request = Request {
            query: &query,
            headers: &headers,
            agent: (self.at("/agent/exists") == Some(&Json::Bool(true))).then_some(caller),
            body: self.at("/body").map_or(Body::Empty, Body::Json),
            mcp: Mcp::Message { method: "tools/call", tool: text("/mcp/tool"), args: self.at("/mcp/args") },
            ..Request::new(method, host, path)
        };
        expr.truth(effect, &request)
    }

    /// What the `cel` crate says about it: an error is unknown, and so is what is neither true nor false.
    ///
    /// Beside the functions of CEL there are those that spell out our differences: `eq`, `order`, `text` and `list` fail
    /// for values of other types, `there` says whether a pointer leads to a value, whatever lies on the way.
    pub(super) fn oracle(&self, text: &str) -> Truth {
        let mut context = Context::default();
        for (name, value) in self.0.as_object().unwrap().iter() {
            context.add_variable_from_value(name, to_cel(value));
        }
        let failed = |function: &str| ExecutionError::function_error(function, "another type");
        let kind = |value: &Value| match value {
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => 1,
            Value::String(_) => 2,
            Value::Bool(_) => 3,
            Value::List(_) => 4,
            _ => 0,
        };
        let same = move |a: Value, b: Value| {
            if kind(&a) == kind(&b) && (1..=3).contains(&kind(&a)) { Ok(a == b) } else { Err(failed("eq")) }
        };
        context.add_function("eq", same).unwrap();
        for (name, wanted) in [("number", 1), ("text", 2), ("list", 4)] {
            let check = move |value: Value| if kind(&value) == wanted { Ok(value) } else { Err(failed(name)) };
            context.add_function(name, check).unwrap();
        }
        let whole = self.0.clone();
        let there = move |pointer: Arc<String>| whole.at(&pointer.parse::<Pointer>().unwrap()).is_some();
        context.add_function("there", there).unwrap();
        let expression = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match Value::resolve(&expression, &context) {
            Ok(Value::Bool(value)) => value.into(),
            _ => Truth::Unknown,
        }
    }

    fn at(&self, pointer: &str) -> Option<&Json> {
        self.0.at(&pointer.parse().unwrap())
    }
}

/// Reads an expression with names in backquotes, which the `cel` crate leaves out if it is not told.
pub(super) fn parse(text: &str) -> Result<IdedExpr, ParseErrors> {
    Parser::default().enable_ident_escape_syntax(true).parse(text)
}

fn to_cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => {
            let text = number.as_str();
            let whole = text.parse::<i64>().map(Value::Int).or_else(|_| text.parse::<u64>().map(Value::UInt));
            whole.unwrap_or_else(|_| Value::Float(text.parse().unwrap()))
        }
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Json::Object(object) => {
            let members: HashMap<String, Value> =
                object.iter().map(|(name, value)| (name.to_owned(), to_cel(value))).collect();
            members.into()
        }
    }
}
