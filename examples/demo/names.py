"""Invented names of people and enterprises, drawn from a seeded generator. Any likeness is chance."""

from __future__ import annotations

from itertools import accumulate
from random import Random

from examples.demo.identifiers import Sex

# Surname and its rough share of the population in per mille: common ones must repeat as they do in life.
_SURNAMES = {
    "王": 72, "李": 71, "张": 67, "陈": 63, "刘": 51, "杨": 31, "黄": 25, "吴": 24, "赵": 21, "周": 21,
    "徐": 20, "孙": 18, "马": 15, "朱": 14, "胡": 13, "林": 13, "郭": 12, "何": 12, "高": 11, "罗": 10,
    "郑": 10, "梁": 9, "谢": 8, "宋": 8, "唐": 7, "许": 7, "邓": 6, "冯": 6, "韩": 6, "曹": 6,
    "曾": 5, "彭": 5, "萧": 5, "蔡": 5, "潘": 5, "田": 5, "董": 5, "袁": 5, "于": 5, "余": 5,
    "叶": 5, "蒋": 5, "杜": 4, "苏": 4, "魏": 4, "程": 4, "吕": 4, "丁": 4, "沈": 4, "任": 4,
    "姚": 4, "卢": 4, "傅": 4, "钟": 4, "姜": 4, "俞": 3, "章": 3, "楼": 2, "欧阳": 1, "诸葛": 1,
}  # fmt: skip
_MALE = "伟强磊军洋勇杰涛明超刚平辉鹏华飞鑫波斌宇浩凯健俊帆帅旭宁龙林建国志文海东峰毅宏亮福根"
_FEMALE = "芳娜敏静丽艳娟霞秀兰玲燕红梅英华慧巧美颖洁云莲真雪荣爱妹香月莺媛瑞凡佳嘉琼勤珍贞莉桂"
_MINORITY = {
    "M": ("买买提", "艾力", "吐尔逊", "阿不都", "热合曼", "多吉", "扎西"),
    "F": ("阿依古丽", "古丽娜", "帕提古丽", "热娜", "卓玛", "央金", "阿米娜"),
}
_FATHERS = ("吐尔逊", "艾山", "买买提", "肉孜", "依明", "次仁", "热西提")
_MINORITY_SHARE = 0.01

_BRANDS = "鑫恒泰瑞丰达盛华宏源祥和顺兴隆安康嘉诚信德润泽锦绣云溪钱潮吴越禾木"
_INDUSTRIES = (
    "纺织", "机械", "餐饮管理", "建筑工程", "物流", "软件科技", "电子商务", "食品", "五金", "服装",
    "物业服务", "装饰", "汽车配件", "包装", "印刷", "家政服务", "园林绿化", "医疗器械", "文化传媒", "贸易",
)  # fmt: skip
_TRADES = ("小吃店", "便利店", "理发店", "水果店", "五金店", "修理铺", "服装店", "面馆")

_SURNAME_LIST = tuple(_SURNAMES)
_SURNAME_SUMS = tuple(accumulate(_SURNAMES.values()))


def personal_name(rng: Random, sex: Sex) -> str:
    """Return a name: Han, of two to four characters, or one in a hundred with a middle dot (U+00B7)."""
    if rng.random() < _MINORITY_SHARE:
        return f"{rng.choice(_MINORITY[sex])}·{rng.choice(_FATHERS)}"
    surname = rng.choices(_SURNAME_LIST, cum_weights=_SURNAME_SUMS)[0]
    given = _MALE if sex == "M" else _FEMALE
    return surname + "".join(rng.choices(given, k=1 if rng.random() < 0.25 else 2))


def misspelt(rng: Random, name: str) -> str:
    """Return the name with its last character replaced by another: no normalisation makes the two equal."""
    return name[:-1] + rng.choice([c for c in _MALE + _FEMALE if c != name[-1]])


def company_name(rng: Random) -> str:
    """Return the name of a limited company; one in twenty has brackets, which sources spell in two ways."""
    brand = "".join(rng.sample(_BRANDS, 3))
    middle = "(浙江)" if rng.random() < 0.05 else ""
    return f"杭州{brand}{middle}{rng.choice(_INDUSTRIES)}有限公司"


def shop_name(rng: Random, district: str) -> str:
    """Return the name of a sole trader's shop in a district."""
    return f"杭州市{district}{''.join(rng.sample(_BRANDS, 3))}{rng.choice(_TRADES)}"
