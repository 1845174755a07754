"""The whole chain on Chinese and Japanese: what it must drop, what it must keep."""

from pathlib import Path

import pytest

from distill.ask import default_prompt
from distill.config import GenerateConfig
from distill.filters.chain import on_answers, on_inputs
from distill.store.taskfile import read_task
from distill.types import Candidate, Example, Label, Task

CHINESE = read_task(Path(__file__).parents[2] / "examples" / "chinese" / "task.toml")
JAPANESE = Task(
    name="kanjo",
    kind="label",
    instruction="映画のレビューが肯定的か否定的かを判断してください。",
    input_noun="映画のレビュー",
    labels=(
        Label("肯定的", examples=("最初から最後まで目が離せない、素晴らしい作品でした。",)),
        Label("否定的", examples=("話が長すぎて、途中で眠ってしまいました。",)),
    ),
)
GOLD = [
    "昨天买的耳机左边没有声音，能不能换一个新的？",
    "この監督の作品はどれも好きですが、今回だけは期待外れでした。",
]


def candidate(text, answer="物流", index=0, **more):
    return Candidate(index=index, input=text, answer=answer, origin="test", **more)


@pytest.fixture
def chinese():
    return on_inputs(CHINESE, GenerateConfig(), GOLD)


@pytest.fixture
def japanese():
    return on_inputs(JAPANESE, GenerateConfig(), GOLD)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("短句", "length"),
        ("请问什么时候发货？标签：物流", "format"),
        ("请问什么时候能发货呢？（物流）", "format"),
        ("【物流】请问什么时候能发货呢？", "format"),
        ("句子：请问什么时候能发货呢？", "format"),
        ("我买的【插入商品名】什么时候能发货呢？", "format"),
        ("好的，以下是一条客户留言。", "refusal"),
        ("抱歉，我无法为您提供这样的内容。", "refusal"),
        ("作为一个人工智能，我没有买过东西。", "refusal"),
        ("Where is my parcel? It should have come yesterday.", "language"),
        ("この商品はいつ発送されますか、教えてください", "language"),
        ("判断网购客户发给客服的一句话属于哪一类问题。我的包裹呢？", "echo"),
        ("我上周五下的单，到现在还没有发货，请问什么时候能寄出呢？", "echo"),
        ("昨天买的耳机左边没有声音了，能不能换一个新的？", "leak"),
        (
            "你好，我昨天买的耳机左边没有声音，能不能换一个新的？我很着急，明天出差就要用，请尽快处理一下。",
            "leak",
        ),
    ],
)
def test_chinese_drops(chinese, text, rule):
    assert chinese.judge(candidate(text)).rule == rule


@pytest.mark.parametrize(
    "text",
    [
        "对不起，我无法登录我的账号，怎么付款？",
        "抱歉，我不能收货了，能退款吗？",
        "这本为人工智能专业写的书什么时候到货？",
        "当然要退款，等了这么多天！",
        "物流怎么这么慢，退款吧。",
        "iPhone 15 Pro Max 的壳什么时候能到？",
        "昨天买的手机屏幕碎了，能不能换一个新的？",
        "以下单时的地址为准，可以改吗？",
        "我想問一下，我買的書甚麼時候會寄出？",
    ],
)
def test_chinese_keeps(chinese, text):
    assert chinese.judge(candidate(text)).keep


def test_chinese_duplicates(chinese):
    assert chinese.admit(candidate("我买的行李箱已经三天没有物流信息了，是丢了吗？", index=1)).keep
    assert chinese.judge(candidate("我买的行李箱已经三天没有物流信息了，是丢了吗")).rule == "exact"
    assert (
        chinese.judge(candidate("我买的行李箱已经三天没有物流信息了，是不是丢了？")).rule == "near_duplicates"
    )
    assert chinese.judge(candidate("我买的羽绒服袖子开线了，这是质量问题吧？")).keep
    assert chinese.worst_leak is None


def test_the_worst_leak_is_kept(chinese):
    chinese.judge(candidate("昨天买的耳机左边没有声音了，能不能换一个新的？", index=7))
    worst = chinese.worst_leak
    assert (worst.candidate, worst.row, worst.dropped) == (7, GOLD[0], True)
    assert 0.7 <= worst.similarity < 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("感情：肯定的 とても良かったです", "format"),
        ("はい、以下にレビューを示します。", "refusal"),
        ("申し訳ありませんが、そのご要望にはお応えできません。", "refusal"),
        ("この映画を見た人は皆泣いたと言う。AIとして、私は映画を見ません。", "refusal"),
        ("the film is far too long and the music is dreadful", "language"),
        ("这部电影的画面非常漂亮，可是故事太长了，我差点睡着。", "language"),
        ("最初から最後まで目が離せない、素晴らしい作品だった。", "echo"),
        ("この監督の作品はどれも好きですが、今回は期待外れでした。", "leak"),
    ],
)
def test_japanese_drops(japanese, text, rule):
    assert japanese.judge(candidate(text)).rule == rule


@pytest.mark.parametrize(
    "text",
    [
        "申し訳ありませんが、面白さが理解できませんでした。",
        "すみませんが、二度と見たいとは思いません。",
        "AIが人間に恋をする話で、意外と泣けました。",
        "もちろん主演の演技は最高でした。",
        "肯定的な意見が多いけれど、私は退屈でした。",
        "東京物語以来の傑作",
    ],
)
def test_japanese_keeps(japanese, text):
    assert japanese.judge(candidate(text)).keep


def test_answers():
    chain = on_answers(CHINESE, GenerateConfig())
    assert chain.judge(candidate("请问什么时候能发货呢？", "物流")).keep
    assert chain.judge(candidate("请问什么时候能发货呢？", "投诉")).rule == "label_set"
    exact = Task(
        name="c", kind="text", instruction="首都是哪里？", verify="number", examples=(Example("一", "1"),)
    )
    chain = on_answers(exact, GenerateConfig())
    assert chain.judge(candidate("一加一等于几呢？", "等于２。")).keep
    assert chain.judge(candidate("一加一等于几呢？", "等于二吧")).rule == "verify"


def test_the_example_is_a_whole_task():
    assert default_prompt(CHINESE)
    assert all(len(label.examples) >= 3 for label in CHINESE.labels)
