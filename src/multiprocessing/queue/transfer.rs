//! Puts items into a queue and takes them out, in tasks and on threads. The public types call it.

use std::sync::Arc;
use std::time::Duration;

use super::LARGE;
use super::error::{PutError, QueueError};
use super::holders::ItemPlace;
use super::shared::SharedQueue;
use super::unreadable::UnreadableItem;
use crate::executor::data::Data;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::robust::lock::RobustGuard;
use crate::multiprocessing::waiting::driver::{Driver, InTask, InThread, forever, may_block};
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
        InTask.begin().await;
        let put = match packed(&item) {
            Ok(packed) => match self.put_at_once(|held| self.put(held, to, &packed)) {
                Some(put) => put,
                None => self.put_packed(&InTask, to, &packed).await,
            },
            Err(error) => Err(error),
        };
        put.map_err(|error| PutError::new(item, error))
    }

    pub(super) fn blocking_put_item<T: Data>(
        &self,
        to: &Descriptor,
        item: T,
        timeout: Option<Duration>,
    ) -> Result<(), PutError<T>> {
        let put = packed(&item).and_then(|packed| {
            let at_once = || self.put_at_once(|held| self.put(held, to, &packed));
            let wait = async |driver: &InThread| Some(self.put_packed(driver, to, &packed).await);
            InThread::wait(timeout, at_once, wait).unwrap_or(Err(QueueError::TIMED_OUT))
        });
        put.map_err(|error| PutError::new(item, error))
    }

    async fn put_packed<D: Driver>(
        &self,
        driver: &D,
        to: &Descriptor,
        item: &OutgoingItem<'_>,
    ) -> Result<(), QueueError> {
        let put = self.put_in_turn(driver, |held| self.put(held, to, item));
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

    pub(super) async fn get_item<T: Data>(&self) -> Result<T, QueueError> {
        InTask.begin().await;
        let mut item = IncomingItem::for_type::<T>();
        match self.get_at_once(|held| self.take(held, &mut item)) {
            Some(taken) => taken?,
            None => self.take_in_turn(&InTask, &mut item).await?,
        }
        Ok(item.into_item()?)
    }

    pub(super) fn blocking_get_item<T: Data>(
        &self,
        timeout: Option<Duration>,
    ) -> Result<T, QueueError> {
        may_block();
        let mut item = IncomingItem::for_type::<T>();
        match self.get_at_once(|held| self.take(held, &mut item)) {
            Some(taken) => taken?,
            None => InThread::run(self.take_in_turn(&InThread::within(timeout), &mut item))?,
        }
        Ok(item.into_item()?)
    }

    async fn take_in_turn<D: Driver>(
        &self,
        driver: &D,
        item: &mut IncomingItem,
    ) -> Result<(), QueueError> {
        let taken = self.get_in_turn(driver, |held| self.take(held, item));
        taken.await.unwrap_or(Err(QueueError::TIMED_OUT))
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
        self: &Arc<Self>,
        driver: &D,
    ) -> Result<(T, ItemPlace), QueueError> {
        driver.begin().await;
        let mut item = IncomingItem::for_type::<T>();
        let place = match self.get_at_once(|held| self.take_with_receipt(held, &mut item)) {
            Some(taken) => taken?,
            None => {
                let take = |held: &mut RobustGuard<'_>| self.take_with_receipt(held, &mut item);
                let taken = self.get_in_turn(driver, take).await;
                taken.unwrap_or(Err(QueueError::TIMED_OUT))?
            }
        };
        match item.into_item() {
            Ok(item) => Ok((item, place)),
            Err(error) => {
                UnreadableItem::new(self, place).done(driver).await?;
                Err(error.into())
            }
        }
    }

    /// Runs `act` under the lock. Waits for the lock as long as necessary.
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
