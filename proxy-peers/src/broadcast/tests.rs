//! The rules of retries, deadlines and bounds, on a transport that answers itself.
