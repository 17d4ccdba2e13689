//! The operations that the bench needs of a store: those of [`GTStoreClient`], and in tests of a
//! faulty one.

use client::{ClientError, Done, GTStoreClient, Got, Op, Placed};

/// A store under test.
pub trait StoreTarget: Sync {
    /// As [`GTStoreClient::run`].
    fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>>;

    /// As [`GTStoreClient::put`].
    ///
    /// # Errors
    /// The store's.
    fn put(&self, key: &str, value: &str) -> Result<Placed, ClientError>;

    /// As [`GTStoreClient::put_list`].
    ///
    /// # Errors
    /// The store's.
    fn put_list(&self, key: &str, list: &[&str]) -> Result<Placed, ClientError>;

    /// As [`GTStoreClient::get`].
    ///
    /// # Errors
    /// The store's.
    fn get(&self, key: &str) -> Result<Option<Got>, ClientError>;

    /// As [`GTStoreClient::get_list`].
    ///
    /// # Errors
    /// The store's.
    fn get_list(&self, key: &str) -> Result<Option<Vec<String>>, ClientError>;
}

impl StoreTarget for GTStoreClient {
    fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        self.run(ops)
    }

    fn put(&self, key: &str, value: &str) -> Result<Placed, ClientError> {
        self.put(key.as_bytes(), value.as_bytes())
    }

    fn put_list(&self, key: &str, list: &[&str]) -> Result<Placed, ClientError> {
        self.put_list(key.as_bytes(), list)
    }

    fn get(&self, key: &str) -> Result<Option<Got>, ClientError> {
        self.get(key.as_bytes())
    }

    fn get_list(&self, key: &str) -> Result<Option<Vec<String>>, ClientError> {
        self.get_list(key.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod fake;
