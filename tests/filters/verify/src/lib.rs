//! Verifies the signatures in a request's body by the code of the filter, without and with the host's own function, and
//! answers with what both said.
//!
//! A line of the body is a JWK, a text and a signature, each in base64url. A line of the answer has the answer without the
//! host, the one with it (`+` yes, `-` no, `x` no signature of that form) and `h` if the host was asked.

use holdgate_protocol::{
    Json, from_b64url,
    jws::{Algorithm, PublicKey, host_agrees, host_question, host_says_yes},
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType},
};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> Action {
        if end { Action::Continue } else { Action::Pause }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if end {
            let body = self.get_http_request_body(0, size).unwrap_or_default();
            let believed: Vec<Algorithm> = [Algorithm::Es256, Algorithm::Rs256]
                .into_iter()
                .filter(|algorithm| host_agrees(*algorithm, &mut |_, key, signature, text| ask(key, signature, text)))
                .collect();
            let mut answer: String = believed.iter().map(|algorithm| format!("{} ", algorithm.name())).collect();
            let body = String::from_utf8_lossy(&body);
            answer.extend(body.lines().map(|line| format!("\n{}", verify(line).unwrap_or_default())));
            self.send_http_response(200, vec![], Some(answer.as_bytes()));
        }
        Action::Pause
    }
}

fn ask(key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
    let answer =
        hostcalls::call_foreign_function("verify_signature", Some(&host_question(key, signature, text))).ok()?;
    Some(host_says_yes(&answer.unwrap_or_default()))
}

fn verify(line: &str) -> Option<String> {
    let mut parts = line.split(' ').map(from_b64url);
    let (jwk, text, signature) = (parts.next()??, parts.next()??, parts.next()??);
    let jwk = Json::parse(&jwk).ok()?;
    let key = PublicKey::of_jwk(jwk.as_object()?).ok()?;
    let word = |answer: Option<bool>| answer.map_or('x', |yes| if yes { '+' } else { '-' });
    let ours = key.verify(&text, &signature, &mut |_, _, _, _| None);
    let mut asked = "";
    let with_host = key.verify(&text, &signature, &mut |_, key, signature, text| {
        asked = "h";
        ask(key, signature, text)
    });
    Some(format!("{}{}{asked}", word(ours), word(with_host)))
}
