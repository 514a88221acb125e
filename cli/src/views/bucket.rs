//! What DuckDB needs to read a bucket.

use std::fmt::Write;

use inlet_service::config::DatalakeConfig;

use crate::duckdb::literal;

/// The region of a bucket where the configuration and the environment name none.
const REGION: &str = "us-east-1";

/// The extensions with which DuckDB reads the lake; empty for a folder.
pub fn extensions(datalake: &DatalakeConfig) -> &'static [&'static str] {
    if datalake.bucket.is_none() {
        return &[];
    }
    match datalake.path.to_string_lossy().split("://").next() {
        Some("gs") => &["httpfs"],
        Some("az") => &["azure"],
        // The second one looks for the credentials.
        _ => &["httpfs", "aws"],
    }
}

/// The statement before the views of a lake in a bucket; empty for a folder. It holds no
/// credential: DuckDB looks for them where Inlet does.
pub fn secret(datalake: &DatalakeConfig) -> String {
    secret_with(datalake, std::env::var("AWS_REGION").ok())
}

/// The same with the region of the environment.
fn secret_with(datalake: &DatalakeConfig, region: Option<String>) -> String {
    let Some(bucket) = &datalake.bucket else {
        return String::new();
    };
    let path = datalake.path.to_string_lossy();
    let (kind, provider) = match path.split("://").next() {
        Some("gs") => {
            // DuckDB reads Google's buckets with HMAC keys alone, which Inlet does not know.
            return "-- Before the views: CREATE SECRET inlet_lake (TYPE gcs, KEY_ID '..', SECRET \
                    '..');\n"
                .to_owned();
        }
        Some("az") => ("azure", "credential_chain"),
        _ => ("s3", "credential_chain"),
    };
    let mut text = format!("CREATE OR REPLACE SECRET inlet_lake (TYPE {kind}, PROVIDER {provider}");
    if kind == "s3" {
        // DuckDB signs with an empty region otherwise, which servers refuse.
        let region = bucket.region.clone().or(region);
        let region = region.unwrap_or_else(|| REGION.to_owned());
        let _ = write!(text, ", REGION {}", literal(&region));
    }
    if let Some(endpoint) = bucket.endpoint.as_ref().filter(|_| kind == "s3") {
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let host = literal(host.trim_end_matches('/'));
        let has_tls = scheme == "https";
        let _ = write!(
            text,
            ", ENDPOINT {host}, URL_STYLE 'path', USE_SSL {has_tls}"
        );
    }
    text.push_str(");\n");
    text
}

#[cfg(test)]
mod tests {
    use inlet_service::config::Config;

    use super::*;

    fn of(datalake: &str) -> String {
        let text = format!("datalake: {datalake}\ntables: {{ orders: }}\n");
        let config = Config::parse(&text).unwrap();
        secret_with(config.require_datalake().unwrap(), None)
    }

    #[test]
    fn a_secret_names_the_server_and_no_credential() {
        assert_eq!(of("{ path: ./lake }"), "");
        assert_eq!(
            of("{ path: \"s3://lake/shop\" }"),
            "CREATE OR REPLACE SECRET inlet_lake (TYPE s3, PROVIDER credential_chain, REGION \
             'us-east-1');\n"
        );
        assert_eq!(
            of(
                "{ path: \"s3://lake/shop\", endpoint: \"http://minio:9000\", allow_http: true, \
                region: eu }"
            ),
            "CREATE OR REPLACE SECRET inlet_lake (TYPE s3, PROVIDER credential_chain, REGION 'eu', \
             ENDPOINT 'minio:9000', URL_STYLE 'path', USE_SSL false);\n"
        );
    }
}
