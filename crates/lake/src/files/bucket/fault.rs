//! What the failure of a request means, in words that hold no credential.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use inlet_service::error::Hint;
use object_store::Error;

/// What a failed request means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketFault {
    /// The bucket does not exist.
    NoBucket,
    /// These credentials do not allow it.
    Denied,
    /// No credentials were found.
    NoCredentials,
    /// The server did not answer.
    Unreachable,
    /// Anything else may pass, such as a server that is busy, or credentials that expired.
    Passing,
    /// The server answers with something that no object store of this kind would.
    OtherServer,
}

impl BucketFault {
    /// What a user can do about it.
    pub fn hint(self) -> Option<Hint> {
        let text = match self {
            Self::NoBucket => "create the bucket, or change the key `datalake.path`",
            Self::Denied => {
                "give these credentials the right to list the bucket, and to get, put and delete \
                 objects below `datalake.path`"
            }
            Self::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://, \
                 GOOGLE_APPLICATION_CREDENTIALS for gs://, AZURE_STORAGE_ACCOUNT_NAME and \
                 AZURE_STORAGE_ACCOUNT_KEY for az://, or give the machine a role"
            }
            Self::Unreachable => {
                "start the server, or change the keys `datalake.endpoint` and `datalake.region`"
            }
            Self::OtherServer => "change the key `datalake.endpoint`",
            Self::Passing => return None,
        };
        Some(Hint::text(text))
    }
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct BucketError {
    text: String,
    pub(crate) fault: BucketFault,
}

/// The answers of S3, Azure and Google for a bucket that does not exist.
const NO_BUCKET: [&str; 3] = [
    "NoSuchBucket",
    "ContainerNotFound",
    "The specified bucket does not exist",
];
/// Codes of credentials that were good a moment ago: the next ones will be.
const EXPIRED: [&str; 4] = [
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    "RequestExpired",
];
/// Where a program asks for the role of the machine that it runs on.
const MACHINE: [&str; 4] = [
    "169.254.",
    "latest/meta-data",
    "latest/api/token",
    "metadata.google",
];

/// The failure as an error of input and output, as files have them.
pub(super) fn fault(error: Error) -> io::Error {
    let whole = texts(&error);
    let has = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    let refusal = refusal(&whole);
    let said = |fallback: &str| refusal.clone().unwrap_or_else(|| fallback.to_owned());
    let (fault, text) = if has(&NO_BUCKET) {
        (BucketFault::NoBucket, said("the bucket does not exist"))
    } else if matches!(error, Error::NotFound { .. }) {
        return io::Error::new(ErrorKind::NotFound, said("no such object"));
    } else if has(&MACHINE) {
        let text = "no credentials were found: neither in the environment, nor by a role of this \
                    machine";
        (BucketFault::NoCredentials, text.to_owned())
    } else if has(&EXPIRED) {
        (BucketFault::Passing, said("the credentials have expired"))
    } else if matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    ) {
        (BucketFault::Denied, said("the server refuses it"))
    } else if whole.contains("error sending request") {
        (BucketFault::Unreachable, innermost(&error))
    } else if refusal.is_none() && whole.contains("status code: 4") {
        let text = "the server answers as no object store does".to_owned();
        (BucketFault::OtherServer, text)
    } else {
        (BucketFault::Passing, said(&innermost(&error)))
    };
    let kind = match fault {
        BucketFault::NoBucket | BucketFault::OtherServer => ErrorKind::Other,
        BucketFault::Denied | BucketFault::NoCredentials => ErrorKind::PermissionDenied,
        BucketFault::Unreachable | BucketFault::Passing => ErrorKind::Other,
    };
    io::Error::new(kind, BucketError { text, fault })
}

/// The code and the sentence of a server's answer in XML. The rest of it may repeat the request
/// with its signature, or name an account.
fn refusal(text: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.trim().to_owned())
    };
    let code = element("Code")?;
    Some(match element("Message").filter(|said| !said.is_empty()) {
        Some(said) => format!("{code}: {said}"),
        None => code,
    })
}

fn texts(error: &Error) -> String {
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        whole.push_str(": ");
        whole.push_str(&cause.to_string());
        source = cause.source();
    }
    whole
}

/// The last cause, which names what the operating system or the server answered.
fn innermost(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    without_queries(&text)
}

/// An address may have a credential in its query.
fn without_queries(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once('?').filter(|_| word.contains("://")) {
            Some((address, _)) => kept.extend([address, " "]),
            None => kept.push_str(word),
        }
    }
    kept.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> io::Error {
        fault(Error::Generic {
            store: "S3",
            source: body.to_owned().into(),
        })
    }

    fn known(error: &io::Error) -> BucketFault {
        let inner = error.get_ref().expect("it has a cause");
        let found: &BucketError = inner.downcast_ref().expect("it is of a bucket");
        found.fault
    }

    #[test]
    fn an_answer_is_shown_by_its_code_and_sentence_alone() {
        let error = of(
            "status 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>The \
             signature differs.</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>secret\
             </StringToSign></Error>",
        );
        assert_eq!(
            error.to_string(),
            "SignatureDoesNotMatch: The signature differs."
        );
    }

    #[test]
    fn the_query_of_an_address_is_left_out() {
        let error = of("no answer of https://x.blob.core.windows.net/lake?sig=SECRET&se=1 in time");
        assert_eq!(
            error.to_string(),
            "no answer of https://x.blob.core.windows.net/lake in time"
        );
    }

    #[test]
    fn what_can_pass_is_known_from_what_a_user_has_to_change() {
        let expired = "403: <Error><Code>ExpiredToken</Code></Error>";
        assert_eq!(known(&of(expired)), BucketFault::Passing);
        let missing = "404: <Error><Code>NoSuchBucket</Code></Error>";
        assert_eq!(known(&of(missing)), BucketFault::NoBucket);
        let none = "Error performing PUT http://169.254.169.254/latest/api/token";
        assert_eq!(known(&of(none)), BucketFault::NoCredentials);
    }
}
