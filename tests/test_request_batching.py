import asyncio
import logging
import threading
import time

import pytest

from hf_blink.request_batching import BatchSettings, QueueFullError, RequestBatcher


class Model:
    """Upper-cases texts, batch by batch, when it is let; a text "bad" fails."""

    def __init__(self):
        self.batches: list[tuple[list[str], dict]] = []
        self.threads: set[int] = set()
        self.open = threading.Event()

    def __call__(self, items, options):
        texts = [item["text"] for item in items]
        self.batches.append((texts, options))
        self.threads.add(threading.get_ident())
        assert self.open.wait(10)
        if "bad" in texts:
            raise ValueError("a bad text")
        return [text.upper() for text in texts]

    @property
    def texts(self) -> list[list[str]]:
        return [texts for texts, _ in self.batches]


@pytest.fixture
def model() -> Model:
    return Model()


def items(*texts: str) -> list[dict]:
    return [{"text": text} for text in texts]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def submit_in_order(batcher, *requests, options=None) -> list[asyncio.Task]:
    """Starts the first request, waits until the model works on it, and puts the others in the queue."""
    tasks = []
    for number, texts in enumerate(requests):
        given = (options or {}).get(number, {})
        tasks.append(asyncio.create_task(batcher.submit(items(*texts), given)))
        await until(lambda: batcher.queue_length == 0 if len(tasks) == 1 else True)
        await asyncio.sleep(0)
    return tasks


def run(model: Model, *requests, options=None, **settings) -> list:
    """Results or errors of requests of which all but the first come while the model is busy with the first."""

    async def main():
        async with RequestBatcher(model, BatchSettings(**{"wait": 0, **settings})) as batcher:
            tasks = await submit_in_order(batcher, *requests, options=options)
            assert batcher.queue_length == len(requests) - 1
            model.open.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(main())


def test_requests_that_come_while_the_model_is_busy_share_the_next_call(model):
    results = run(model, ["a"], ["b", "c"], [], ["d"])
    assert results == [["A"], ["B", "C"], [], ["D"]]
    assert model.texts == [["a"], ["b", "c", "d"]]
    assert len(model.threads) == 1 and threading.get_ident() not in model.threads


def test_a_batch_has_at_most_so_many_texts_and_characters(model):
    run(model, ["a"], ["b", "c"], ["d"], ["e"], ["f", "g", "h", "i"], ["j"], texts=3)
    assert model.texts == [["a"], ["b", "c", "d"], ["e"], ["f", "g", "h", "i"], ["j"]]
    again = Model()
    run(again, ["a"], ["1234"], ["12"], ["1"], ["1234567"], ["1"], characters=6)
    assert again.texts == [["a"], ["1234", "12"], ["1"], ["1234567"], ["1"]]


def test_only_requests_with_equal_options_share_a_call_and_the_first_is_never_passed_over(model):
    options = {1: {"top_k": 1}, 2: {"top_k": 2}, 3: {"top_k": 1}, 4: {"top_k": 2}}
    results = run(model, ["a"], ["b"], ["c"], ["d"], ["e"], options=options)
    assert results == [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert model.batches == [(["a"], {}), (["b", "d"], {"top_k": 1}), (["c", "e"], {"top_k": 2})]


def test_an_idle_model_waits_for_more_but_not_for_a_full_batch(model):
    model.open.set()

    async def main(wait, texts):
        async with RequestBatcher(model, BatchSettings(wait=wait, texts=texts)) as batcher:
            start = time.perf_counter()
            first = asyncio.create_task(batcher.submit(items("a"), {}))
            await asyncio.sleep(0.02)
            await asyncio.gather(first, batcher.submit(items("b"), {}))
            return time.perf_counter() - start

    assert asyncio.run(main(0.3, 8)) >= 0.3 and model.texts == [["a", "b"]]
    assert asyncio.run(main(1, 2)) < 1 and model.texts[1:] == [["a", "b"]]
    assert asyncio.run(main(0, 8)) < 1 and model.texts[2:] == [["a"], ["b"]]


def test_a_bad_request_fails_alone(model, caplog):
    with caplog.at_level(logging.WARNING):
        results = run(model, ["a"], ["b"], ["c", "bad"], ["d"])
    assert results[0] == ["A"] and results[1] == ["B"] and results[3] == ["D"]
    assert isinstance(results[2], ValueError) and str(results[2]) == "a bad text"
    assert model.texts == [["a"], ["b", "c", "bad", "d"], ["b"], ["c", "bad"], ["d"]]
    assert "a batch of 3 requests failed" in caplog.text


def test_a_caller_that_goes_leaves_the_queue_and_breaks_no_batch(model):
    async def main():
        async with RequestBatcher(model, BatchSettings(wait=0)) as batcher:
            tasks = await submit_in_order(batcher, ["a"], ["b"], ["c"])
            tasks[0].cancel()
            tasks[1].cancel()
            await until(lambda: batcher.queue_length == 1)
            model.open.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError) and isinstance(second, asyncio.CancelledError)
    assert third == ["C"] and model.texts == [["a"], ["c"]]


def test_a_full_queue_refuses_and_takes_again_when_it_is_shorter(model):
    async def main():
        async with RequestBatcher(model, BatchSettings(wait=0, queue=2)) as batcher:
            tasks = await submit_in_order(batcher, ["a"], ["b"], ["c"])
            with pytest.raises(QueueFullError, match="2 requests wait already"):
                await batcher.submit(items("d"), {})
            model.open.set()
            await asyncio.gather(*tasks)
            return await batcher.submit(items("d"), {})

    assert asyncio.run(main()) == ["D"]


def test_leaving_finishes_what_waits_and_refuses_the_rest(model):
    async def main():
        batcher = RequestBatcher(model, BatchSettings(wait=1))
        with pytest.raises(QueueFullError, match="stopping"):
            await batcher.submit(items("a"), {})
        start = time.perf_counter()
        async with batcher:
            model.open.set()
            tasks = [asyncio.create_task(batcher.submit(items(text), {})) for text in "ab"]
            await until(lambda: batcher.queue_length == 2)
        assert time.perf_counter() - start < 1  # nothing is waited for any more
        with pytest.raises(QueueFullError, match="stopping"):
            await batcher.submit(items("c"), {})
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [["A"], ["B"]]
    assert model.texts == [["a", "b"]]


def test_every_batch_is_observed(model):
    observed: list[int] = []
    model.open.set()

    async def main():
        async with RequestBatcher(model, BatchSettings(wait=0), observed.append) as batcher:
            await batcher.submit(items("a", "b"), {})
            await batcher.submit(items("c"), {})

    asyncio.run(main())
    assert observed == [2, 1]


@pytest.mark.parametrize(
    "setting", [{"texts": 0}, {"characters": 0}, {"queue": 0}, {"wait": -1}, {"wait": 2}]
)
def test_settings_out_of_range_are_refused(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=rf"expected .*{name}.* got {setting[name]}"):
        BatchSettings(**setting)
