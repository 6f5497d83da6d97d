//! Requests through the whole router, without a network and without media.
