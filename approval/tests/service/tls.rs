//! TLS to PostgreSQL: what the address asks for is what is done.

use holdgate_approval::store::Database;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::outage::Server;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that lets nobody in without TLS, with a certificate for `localhost`.
fn server(authority: &Authority) -> Server {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let server = Server::start();
    server.write("server.crt", &certificate.pem());
    server.write("server.key", &key.serialize_pem());
    server.write("postgresql.auto.conf", "ssl = on\n");
    server.write("pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n");
    server.restart("fast");
    server
}

#[tokio::test]
async fn a_database_is_reached_by_tls_and_only_where_its_certificate_is_trusted() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let server = server(&authority);
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    std::fs::write(&own, authority.pem()).unwrap();
    std::fs::write(&other, self::authority().pem()).unwrap();
    let url = |host: &str, mode: &str, roots: &std::path::Path| {
        let url = server.url().replace("127.0.0.1", host);
        format!("{url}?sslmode={mode}&sslrootcert={}", roots.display())
    };
    let database = Database::open(&url("localhost", "verify-full", &own), true).await.unwrap();
    let connections = "SELECT count(*) AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                       WHERE application_name = 'holdgate-approval' AND";
    let mut reader = database.read().await.unwrap();
    let mut count =
        async |ssl: &str| reader.one(format!("{connections} {ssl}"), vec![]).await.unwrap().int("n").unwrap();
    assert!(count("ssl").await >= 2, "a writer and a reader");
    assert_eq!(count("NOT ssl").await, 0);

    for (url, why) in [
        (url("localhost", "verify-full", &other), "invalid peer certificate"),
        (url("127.0.0.1", "verify-full", &own), "not valid for name"),
        (url("localhost", "disable", &own), "no encryption"),
        (url("localhost", "verify-full", &folder.path().join("missing.pem")), "No such file"),
    ] {
        let refused = Database::open(&url, true).await.err().unwrap().to_string();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}
