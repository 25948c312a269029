//! The API over a scripted engine, without a socket.
