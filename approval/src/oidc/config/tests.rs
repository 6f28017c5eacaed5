use super::*;

const WHOLE: &str = "
format: 1
issuer: https://idp.example/realm
client_id: holdgate
client_secret_file: secret
public_url: https://approvals.example
scopes: [openid, profile]
api: {audience: 'https://approvals.example/api', clients: [cli]}
";

fn parse(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    Config::parse(text, folder.path()).map_err(|error| error.to_string())
}

#[test]
fn whole_file_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.redirect.as_str(), "https://approvals.example/signin/oidc/callback");
    assert_eq!((config.name.as_str(), config.issuer.as_str()), ("idp.example", "https://idp.example/realm"));
    assert_eq!(config.client_secret.as_ref().unwrap().secret(), "hunter2");
    assert_eq!(config.scopes, ["profile"]);
    assert_eq!(config.api.as_ref().unwrap().token_type, "at+jwt");
    assert!(config.is_public_by_tls());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_is_named_with_its_mend() {
    let cases = [
        ("issuer: https://idp.example/realm", "issuer: http://idp.example", "`http://` is for this machine only"),
        ("issuer: https://idp.example/realm", "issuer: idp.example", "is no address"),
        ("issuer: https://idp.example/realm", "issuer: 'https://idp.example?x=1'", "must have no query"),
        ("public_url: https://approvals.example", "public_url: https://a.example/x", "scheme and host only"),
        ("public_url: https://approvals.example", "public_url: https://me@a.example", "neither a user nor a fragment"),
        ("client_secret_file: secret", "client_secret_file: missing", "`client_secret_file`: `missing` cannot be read"),
        ("client_secret_file: secret", "client_secret_env: HOLDGATE_NOT_SET", "`HOLDGATE_NOT_SET` is not set"),
        ("client_id: holdgate", "client_id: ''", "`client_id`: is empty"),
        ("clients: [cli]", "clients: []", "name each client"),
        ("https://approvals.example/api", "holdgate", "`holdgate` is a client's id"),
        ("https://approvals.example/api", "cli", "`cli` is a client's id"),
        ("format: 1", "format: 2", "this version reads format 1"),
        ("scopes:", "scope:", "scope"),
    ];
    for (there, instead, expected) in cases {
        let error = parse(&WHOLE.replace(there, instead)).unwrap_err();
        assert!(error.contains(expected), "{instead}: {error}");
    }
}

#[test]
fn plain_http_is_for_loopback_only() {
    for (host, allowed) in [
        ("127.0.0.1:3000", true),
        ("[::1]:3000", true),
        ("localhost", true),
        ("127.0.0.1.example", false),
        ("localhost.example", false),
        ("10.0.0.1", false),
        ("0.0.0.0", false),
    ] {
        assert_eq!(url::read(&format!("http://{host}/")).is_ok(), allowed, "{host}");
    }
}

#[test]
fn file_in_the_guide_is_read() {
    let guide = include_str!("../../../README.md");
    let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains("client_id")).unwrap();
    assert!(parse(block).unwrap_err().contains("`OIDC_SECRET` is not set"));
    let config = parse(&block.replace("client_secret_env: OIDC_SECRET", "client_secret_file: secret")).unwrap();
    assert_eq!(config.api.unwrap().clients, ["holdgate-cli"]);
}
