//! The calls for single keys, and for many of a kind.

use crate::error::ClientError;
use crate::operation::{CurrentValue, Done, Got, Op, Placed, UpdateAction};
use crate::store::GTStoreClient;

impl GTStoreClient {
    /// Gives a key a value. Blocks until all replicas hold it.
    ///
    /// # Errors
    /// [`ClientError`]; only after [`ClientError::Unknown`] can the value be, or become, visible.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Put { key, value }))
    }

    /// Gives a key a value until a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn put_until(&self, key: &[u8], value: &[u8], until: u64) -> Result<Placed, ClientError> {
        placed(self.one(Op::PutUntil { key, value, until }))
    }

    /// Fetches a key's value; `None` if it has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Got>, ClientError> {
        got(self.one(Op::Get { key }))
    }

    /// Removes a key, whether it has a value or not. Blocks until all replicas know.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn delete(&self, key: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Delete { key }))
    }

    /// Stores a value if the key's present one is `expected` (`None`: no value); otherwise returns
    /// the present one. Atomic among all writes of the key, by any client and despite failures.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn put_if(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<Done, ClientError> {
        self.update(key, |found| {
            if found == expected { UpdateAction::Put(value.to_vec()) } else { UpdateAction::Leave }
        })
    }

    /// Updates a key: `decide` gets its present value, or `None`. Atomic among all writes of the
    /// key, by any client and despite failures. `decide` is called again after another write came
    /// first; only its last result takes effect, and only once. Under contention the calls of this
    /// client queue for their turn; so `decide` must not call this client itself.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`]; [`ClientError::Contended`] if other writes came first until the
    /// deadline; [`ClientError::BadValue`] if `decide` returns a value that is too long.
    pub fn update(
        &self,
        key: &[u8],
        mut decide: impl FnMut(Option<&[u8]>) -> UpdateAction,
    ) -> Result<Done, ClientError> {
        self.update_with_expiry(key, |held| decide(held.map(|held| held.value)))
    }

    /// The same, with the value's expiry time for `decide`.
    ///
    /// # Errors
    /// As [`GTStoreClient::update`].
    pub fn update_with_expiry(
        &self,
        key: &[u8],
        decide: impl FnMut(Option<CurrentValue<'_>>) -> UpdateAction,
    ) -> Result<Done, ClientError> {
        self.decide(key, Box::new(decide))
    }

    /// Puts many keys at once: each node gets one frame. The keys are independent; each has its own
    /// result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn put_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(K, V)],
    ) -> Vec<Result<Placed, ClientError>> {
        let ops: Vec<Op<'_>> = pairs
            .iter()
            .map(|(key, value)| Op::Put { key: key.as_ref(), value: value.as_ref() })
            .collect();
        self.run(&ops).into_iter().map(placed).collect()
    }

    /// Gets many keys at once; each has its own result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Got>, ClientError>> {
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::Get { key: key.as_ref() }).collect();
        self.run(&ops).into_iter().map(got).collect()
    }

    /// Stores several strings as one value, joined by commas, as the original does.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`], and [`ClientError::BadList`] if a string contains a comma.
    pub fn put_list<S: AsRef<str>>(&self, key: &[u8], list: &[S]) -> Result<Placed, ClientError> {
        if let Some(i) = list.iter().position(|item| item.as_ref().contains(',')) {
            return Err(ClientError::BadList(i));
        }
        let items: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
        self.put(key, items.join(",").as_bytes())
    }

    /// Fetches a value as the strings that it consists of.
    ///
    /// # Errors
    /// As [`GTStoreClient::get`].
    pub fn get_list(&self, key: &[u8]) -> Result<Option<Vec<String>>, ClientError> {
        let got = self.get(key)?;
        Ok(got.map(|g| String::from_utf8_lossy(&g.value).split(',').map(str::to_owned).collect()))
    }
}

fn placed(done: Result<Done, ClientError>) -> Result<Placed, ClientError> {
    done.map(|done| match done {
        Done::Placed(placed) => placed,
        Done::Got(_) => unreachable!("a write ends in a place"),
    })
}

fn got(done: Result<Done, ClientError>) -> Result<Option<Got>, ClientError> {
    done.map(|done| match done {
        Done::Got(got) => got,
        Done::Placed(_) => unreachable!("a get ends in a value or none"),
    })
}
