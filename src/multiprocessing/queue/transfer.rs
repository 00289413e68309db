//! Items in and out of a queue, in tasks and in threads. The public types call it.

use std::time::Duration;

use super::LARGE;
use super::error::{PutError, QueueError};
use super::holders::ItemPlace;
use super::shared::SharedQueue;
use crate::executor::data::Data;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::multiprocessing::waiting::driver::{Driver, InTask, InThread, forever};
use crate::wire::descriptors::Descriptor;

/// Encodes an item for the queue.
fn packed<T: Data>(item: &T) -> Result<OutgoingItem<'_>, QueueError> {
    let mut outgoing = OutgoingItem::of(item)?;
    outgoing.pack(LARGE)?;
    Ok(outgoing)
}

impl SharedQueue {
    pub(super) async fn put_item<T: Data>(
        &self,
        to: &Descriptor,
        item: T,
    ) -> Result<(), PutError<T>> {
        let put = self.put_packed(&InTask, to, packed(&item)).await;
        put.map_err(|error| PutError::new(item, error))
    }

    pub(super) fn blocking_put_item<T: Data>(
        &self,
        to: &Descriptor,
        item: T,
        timeout: Option<Duration>,
    ) -> Result<(), PutError<T>> {
        let driver = InThread::within(timeout);
        let put = InThread::run(self.put_packed(&driver, to, packed(&item)));
        put.map_err(|error| PutError::new(item, error))
    }

    async fn put_packed<D: Driver>(
        &self,
        driver: &D,
        to: &Descriptor,
        item: Result<OutgoingItem<'_>, QueueError>,
    ) -> Result<(), QueueError> {
        let item = item?;
        let put = self.wait_to_put(driver, |held| self.put(held, to, &item));
        put.await.unwrap_or(Err(QueueError::TIMED_OUT))
    }

    pub(super) fn try_put_item<T: Data>(
        &self,
        to: &Descriptor,
        item: T,
    ) -> Result<(), PutError<T>> {
        let put = self.try_put_packed(to, || packed(&item));
        put.map_err(|error| PutError::new(item, error))
    }

    fn try_put_packed<'a>(
        &self,
        to: &Descriptor,
        item: impl FnOnce() -> Result<OutgoingItem<'a>, QueueError>,
    ) -> Result<(), QueueError> {
        match self.glance() {
            state if state.is_closed() => return Err(QueueError::CLOSED),
            state if self.is_full(&state) => return Err(QueueError::FULL),
            _ => {}
        }
        let item = item()?;
        self.at_once(|held| {
            let put = self.put(held, to, &item);
            put.unwrap_or(Err(QueueError::FULL))
        })
    }

    /// Takes the first item. A timeout if `driver` has a deadline.
    pub(super) async fn get_item<D: Driver, T: Data>(&self, driver: &D) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let taken = self.wait_to_get(driver, |held| self.take(held, &mut item));
        taken.await.unwrap_or(Err(QueueError::TIMED_OUT))?;
        Ok(item.into_item()?)
    }

    pub(super) fn blocking_get_item<T: Data>(
        &self,
        timeout: Option<Duration>,
    ) -> Result<T, QueueError> {
        InThread::run(self.get_item(&InThread::within(timeout)))
    }

    pub(super) fn try_get_item<T: Data>(&self) -> Result<T, QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        self.at_once(|held| {
            let taken = self.take(held, &mut item);
            taken.unwrap_or(Err(QueueError::EMPTY))
        })?;
        Ok(item.into_item()?)
    }

    pub(super) async fn get_item_with_receipt<D: Driver, T: Data>(
        &self,
        driver: &D,
    ) -> Result<(T, ItemPlace), QueueError> {
        let mut item = IncomingItem::for_type::<T>();
        let taken = self.wait_to_get(driver, |held| self.take_with_receipt(held, &mut item));
        let place = taken.await.unwrap_or(Err(QueueError::TIMED_OUT))?;
        match item.into_item() {
            Ok(item) => Ok((item, place)),
            Err(error) => {
                self.locked(driver, |held| self.item_done(held, place))
                    .await?;
                Err(error.into())
            }
        }
    }

    /// Runs `act` under the lock. It waits for the lock as long as it takes.
    pub(super) async fn locked<D: Driver, R>(
        &self,
        driver: &D,
        act: impl FnOnce(&mut RobustGuard<'_>) -> R,
    ) -> R {
        act(&mut forever(self.lock.lock_by(driver).await))
    }

    pub(super) fn blocking_locked<R>(&self, act: impl FnOnce(&mut RobustGuard<'_>) -> R) -> R {
        InThread::run(self.locked(&InThread::within(None), act))
    }
}
