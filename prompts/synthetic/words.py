"""Words that synthetic texts are made of: common, short, lower case, so that most tokenizers have a token for each."""

from __future__ import annotations

#: The commonest first: where each has to be measured by a request, the measuring begins with them.
_WORDS = """\
the of to and in is for on that by this with you it not or be are from at as your all have an was we will can us about
if my has but our one other do no they he up may what which their out use any there see only so his when here who also
now help get first been would how were me some these its like than find date back top had list name just over state
year day into two world next go work last most make them should her add number such please support after best then
good well where info public high school through each she review very order read group need many user set under general
must send same right those using post part city small while plan large line show place end even long both level used
form water white early point still three start kind open young given land second change hand money past force result
able four music once human light food side cost paper local call reason strong road field half table free case night
life head later love five class week live turn word move left learn model view face door town less true home soon
bring close study sound again keep air play run near build self earth every press plant late hard watch follow came
want color sun men went off picture try animal mother answer found page letter cover between never cross farm north
fish mark horse bird river car feet care enough plain girl usual ready above ever red though feel talk dog family
direct leave song measure product black short wind question happen complete ship area rock fire south problem piece
knew pass since whole king space hour better during hundred step hold west ground interest reach fast sing listen six
travel morning simple several toward war lay against pattern slow center person serve appear map rain rule govern pull
cold notice voice unit power fine certain fly fall lead dark machine note wait figure star box rest correct pound done
beauty drive stood contain front teach final gave green quick develop ocean warm minute mind behind clear tail produce
fact street nothing course stay wheel full blue object decide surface deep moon island foot system busy test record
boat common gold possible plane dry wonder laugh ago ran check game shape hot miss heat snow bed sit perhaps fill east
weight language among
"""


def distinct_words() -> tuple[str, ...]:
    """The words, each once, in their order."""
    return tuple(dict.fromkeys(_WORDS.split()))
