//! From what a server answers to what the user can do.

use super::wire::Refusal;

/// Error codes of S3 and words of servers, and what each means for people.
const KNOWN: [(&str, &str); 24] = [
    ("NoSuchBucket", "there is no such bucket: check its name and the endpoint"),
    ("InvalidBucketName", "the server takes no bucket of this name: check it and the endpoint"),
    ("InvalidAccessKeyId", "the server does not know the access key: check AWS_ACCESS_KEY_ID or the profile"),
    (
        "SignatureDoesNotMatch",
        "the secret key does not belong to the access key, or something on the way changes requests",
    ),
    (
        "RequestTimeTooSkewed",
        "this machine's clock differs from the server's by more than the server allows: set it right",
    ),
    ("ExpiredToken", "the session token has expired: get new credentials"),
    ("TokenRefreshRequired", "the session token has expired: get new credentials"),
    ("InvalidToken", "the session token is not valid: get new credentials"),
    (ARCHIVED, "the object is in an archive class: restore it there first, then try again"),
    (
        "AuthorizationHeaderMalformed",
        "the region is wrong: name the bucket's with AWS_REGION or --option region=REGION",
    ),
    ("PermanentRedirect", "the bucket is reached by another endpoint or region: check both"),
    ("AllAccessDisabled", "the bucket is closed to everybody"),
    ("QuotaExceeded", "the store is full: make room or raise the quota"),
    ("XMinioStorageFull", "the store is full: make room"),
    ("Storage cap exceeded", "the store is full: raise the cap"),
    ("storage cap", "the store is full: raise the cap"),
    ("storage_cap_exceeded", "the store is full: raise the cap"),
    ("KMS.", "the encryption key cannot be used: check that it exists and that the credentials may use it"),
    ("InvalidStorageClass", "the server does not know this storage class: check --option storage-class"),
    ("EntityTooLarge", "the server takes no object as large as this"),
    (
        "Object Lock parameters",
        "the bucket has Object Lock and wants a checksum with each object: use --option checksum=sha256",
    ),
    ("If-None-Match", "the server does not create an object only if it is absent: use another server"),
    ("HTTPS server", "the server speaks TLS at this port: write the endpoint with https://"),
    ("HTTPS port", "the server speaks TLS at this port: write the endpoint with https://"),
];

/// The code of an object that must be brought back from an archive before it can be read.
pub(crate) const ARCHIVED: &str = "InvalidObjectState";

/// What the user can do about an answer.
pub(crate) fn advice(refusal: &Refusal) -> Option<&'static str> {
    KNOWN.iter().find(|(what, _)| refusal.says(what)).map(|(_, advice)| *advice)
}

/// Whether an answer means that there is no room.
pub(crate) fn is_full(refusal: &Refusal) -> bool {
    refusal.status == 507 || advice(refusal).is_some_and(|why| why.starts_with("the store is full"))
}
