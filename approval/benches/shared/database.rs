//! The database of a measurement: that of `HOLDGATE_DATABASE_URL`, an empty one, or SQLite's in the folder.

pub async fn url(folder: &std::path::Path) -> String {
    std::env::var("HOLDGATE_DATABASE_URL").unwrap_or_else(|_| holdgate_approval::store::default_url(folder))
}
