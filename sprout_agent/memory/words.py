"""Sets of English words that tell small talk, common statements and telling words apart."""

from __future__ import annotations

import re
from typing import Final

_WORD = re.compile(r"[^\W_]+(?:['’\-.@/:][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """Words of `text` in lower case; inner apostrophes, hyphens and the like belong to them."""
    return [word.replace("’", "'").lower() for word in _WORD.findall(text)]


FUNCTION: Final = frozenset(
    """
    a an the this that these those i me my mine myself we us our ours you your yours yourself he
    him his she her hers it its they them their theirs and or but nor so if then than as at by for
    from in into of off on onto out over per to under up upon with without about above across after
    against along among around before behind below beneath beside between beyond down during
    except inside near outside past since through till toward until via within is am are was were
    be been being do does did done doing have has had having can could will would shall should may
    might must not no yes there here when where why how what which who whom whose because while
    although though also just only very too quite rather really even ever never always often
    sometimes again still yet already now soon today some any each every all both few many much
    more most other another such same own i'm i've i'd i'll you're you've you'd you'll he's she's
    it's we're we've we'd we'll they're they've they'd they'll that's there's here's what's who's
    let's isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't can't couldn't
    won't wouldn't shouldn't mustn't needn't ain't im ive dont cant thats its'
    """.split()
)
"""Words that carry grammar, not content."""

SMALL_TALK: Final = frozenset(
    """
    hi hello hey hiya howdy greetings morning afternoon evening night goodnight bye goodbye cheers
    thanks thank thx ty please welcome sorry pardon excuse ok okay okey alright fine good great
    nice cool awesome amazing wonderful lovely perfect excellent brilliant fantastic super sweet
    neat bad terrible awful horrible rubbish wow oh ah uh um hm hmm huh haha hahaha lol lmao heh
    hehe yeah yep yup yes nah nope no sure right well indeed exactly absolutely definitely certainly
    probably maybe perhaps guess suppose think thought know knew see saw understand understood mean
    meant feel feeling felt seem seems look looks looking sound sounds happy sad tired sleepy bored
    boring hungry thirsty busy ready excited glad angry annoyed upset stressed exhausted cold hot
    warm sick ill fun funny hilarious silly interesting weird strange crazy true false weather rain
    raining rainy snow snowing sunny sun cloudy windy wind storm freezing day days week weekend
    tonight tomorrow yesterday time moment minute minutes second seconds hour while bit little lot
    kind sort thing things something anything nothing everything stuff way place get got getting
    go going went gone come coming came back make making made take taking took give grab need want
    wanted wait hold say saying said tell talk talking chat chatting ask asking question answer
    help helped helping try trying tried start stop keep let work working worked long short big
    small much sleep bed nap break rest coffee tea lunch dinner breakfast snack food eat eating ate
    drink drinking water phone computer bot robot ai assistant friend buddy mate pal man dude guys
    guy everyone love like liked hate enjoy hope wish miss better best worse worst later soon
    awhile joke laugh laughing see you around take care enjoyed joking kidding wrong correct agree
    exact new old idea point problem matter worry worries care bless congrats congratulations home
    head hurts hurt helpful useful impressive clever smart done finished finish starting leaving
    outside inside annoying gorgeous beautiful pretty yay oops ouch yikes whoa ugh
    meh gosh god goodness omg btw brb gotta gonna wanna sigh literally basically totally actually
    appreciate pleasure whatever nevermind understandable impressed surprised confused relaxed
    relaxing chill chilling okey-dokey
    """.split()
)
"""Words that people use without saying anything that lasts."""

COMMON: Final = FUNCTION | frozenset(
    """
    able accept across act add age ago air allow almost alone area arm art ask away baby bag ball
    bank base beautiful become began begin believe black blood blue board boat body book born box
    boy brother brown build building business buy call called car card carry case cat catch cause
    center chair change check child children choose city class clean clear close clothes color
    colour company continue cook corner cost country couple course cover cross cut dad dark daughter
    dead deal death decide deep different difficult dog door draw dream dress drive drop dry early
    earth east easy eight else end english enough event example eye face fact fall family famous far
    fast father favorite favourite fear feet fell field fight figure fill find fire first fish five
    floor fly follow foot force form forget found four free friday friends front full game garden
    girl glass gold grandma grandpa grass green grew ground group grow hair half hand happen hard
    health hear heard heart heavy held high hill hit holiday hospital house hundred husband idea
    important job join july june jump key kid kids kill king kitchen land language large last late
    lead learn left leg less letter level life light line list listen live lived lives living local
    lose lost low lunch machine main map mark marry married meet meeting men middle mind miss modern
    mom money month months morning mother mountain mouth move movie mum music name named names
    national nature next nine north note notice number office old once one open order paper parents
    park part party pass pay people person pet picture piece plan plane plant play played player
    plays point poor possible power pretty price prime public pull push put quick quickly quiet
    radio ran reach read real reason red remember ride ring river road rock room round rule run
    safe sat save school science sea seat seven shall shape ship shirt shoe shop show side sign
    simple sing sister sit six size sky slow snow social sold son song south space spare speak
    special spend stand star state station stay step stone stood stop store story street strong
    student study summer sunday surprise swim system table talk teach teacher team ten test third
    thousand three through throw together told top touch town train travel tree trip trouble turn
    twenty two type uncle use used usual usually village visit voice walk wall war warm wash watch
    water wear weather wedding wednesday west white whole wide wife win window winter woman women
    wonder wood word words work world write writing year years yellow young monday tuesday thursday
    saturday january february march april august september october november december spring autumn
    """.split()
)
"""Words that are too common to single anything out."""
FIRST_PERSON: Final = frozenset(
    "i i'm i've i'd i'll im ive my mine me we we're we've we'll we'd our ours us myself".split()
)
"""Words by which people speak of themselves."""

VERBS: Final = frozenset(
    """
    is are was were has have had will lives live works work likes like loves love hates hate plays
    play owns own prefers prefer wants needs keeps keep goes go comes drives drive speaks speak
    drinks drink eats eat calls call called named means costs starts ends opens closes sits stands
    belongs bought built broke born got grew made met moved said sold taught won wrote moves takes
    am isn't aren't wasn't weren't can can't cannot won't never always died studies teaches sleeps
    gets arrives leaves expires smells sounds sits hides
    """.split()
)
"""Verbs of plain statements."""

MONTHS_DAYS: Final = frozenset(
    """
    january february march april june july august september october november december monday
    tuesday wednesday thursday friday saturday sunday christmas easter
    """.split()
)
"""Words that make a date."""

ASKING: Final = frozenset("remember forget note mind memorise memorize record fyi".split())
"""Words that ask to remember."""
