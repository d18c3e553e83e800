//! From what a server answers to what the user can do.

/// Error codes of S3, and what each means for people.
const CODES: [(&str, &str); 16] = [
    ("NoSuchBucket", "there is no such bucket: check its name and the endpoint"),
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
    ("InvalidObjectState", "the object is in an archive class: restore it there first, then try again"),
    (
        "AuthorizationHeaderMalformed",
        "the region is wrong: name the bucket's with AWS_REGION or --option region=REGION",
    ),
    ("PermanentRedirect", "the bucket is reached by another endpoint or region: check both"),
    ("AccessDenied", "the credentials do not allow this"),
    ("AllAccessDisabled", "the bucket is closed to everybody"),
    ("QuotaExceeded", "the store is full: make room or raise the quota"),
    ("XMinioStorageFull", "the store is full: make room"),
    ("KMS.", "the encryption key cannot be used: check that it exists and that the credentials may use it"),
    ("NotImplemented", "the server does not know how to do this"),
];

/// What the user can do about an error whose text this is.
pub fn advice(text: &str) -> Option<&'static str> {
    CODES.iter().find(|(code, _)| text.contains(code)).map(|(_, advice)| *advice)
}
