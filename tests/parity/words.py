"""Sentences made of a small word list: the only running text of the fixtures, so that none is anybody else's."""

WORDS = """
a about above account across add after again against age ago all alone along already also always amount an and
animal another answer any appear area arm army around arrive art as ask at away back bad bank base be beautiful
because become bed before begin behind believe best better between big bird black blood blue board boat body book
both bottom box boy brave bread break bridge bright bring brother brown build burn business but buy by call can car
care carry cat catch cause cell center certain chair chance change check child choose church circle city class clean
clear climb clock close cloud coast cold color come common company complete condition consider contain control cook
cool copy corn correct cost could count country course cover create cross crowd cry current cut dance danger dark day
dead deal dear death decide deep degree depend desert design die different difficult dinner direct discuss distance
divide doctor dog door double doubt down draw dream dress drink drive drop dry during each ear early earth ease east
eat edge effect egg eight either electric else end enemy energy engine enough enter entailment equal even evening event
ever every exact example except excite exercise expect experience experiment express extra eye face fact fair fall
family famous far farm fast father favor fear feed feel few field fight figure fill final find fine finger finish fire
first fish fit five flat floor flow flower fly follow food foot for force forest form forward found four free fresh
friend from front fruit full fun game garden gas general gentle get girl give glad glass go gold good govern grand
grass gray great green ground group grow guess had hair half hand happen happy hard has hat have he head hear heart
heat heavy help her here high hill him his history hold hole home hope horse hot hour house how huge human hundred
hunt hurry ice idea if imagine in inch include indicate industry insect instant instrument interest invent iron is
island it job join joy judge jump just keep kept key kill kind king knew know lady lake land language large last late
laugh law lay lead learn least leave left leg length less let letter level lie life lift light like line list listen
little live locate log long look lost lot loud love low machine made main major make man many map mark market mass
master match material matter may me mean measure meat meet melody men metal method middle might mile milk million
mind mine minute miss mix modern molecule moment money month moon more morning most mother motion mount mouth move
much multiply music must my name nation natural nature near necessary neck need neighbor never new next night nine no
noise noon nor north nose not note nothing notice noun now number object observe occur ocean of off offer office often
oh oil old on once one only open operate opposite or order organ original other our out over own oxygen page paint
pair paper paragraph parent part party pass past path pattern pay people perhaps period person phrase pick picture
piece pitch place plain plan plane planet plant play please plural poem point poor populate port pose position
possible post pound power practice prepare present press pretty print probable problem process produce product proper
property protect prove provide pull push put quart question quick quiet quite quotient race radio rail rain raise ran
range rather reach read ready real reason receive record red region remember repeat reply represent require rest
result rich ride right ring rise river road rock roll room root rope rose round row rub rule run safe said sail salt
same sand sat save say scale school science score sea search season seat second section see seed seem segment select
self sell send sense sent sentence separate serve set settle seven several shall shape share sharp she sheet shell
shine ship shoe shop shore short should shoulder shout show side sight sign silent silver similar simple since sing
single sister sit six size skill skin sky sleep slip slow small smell smile snow so soft soil soldier solution solve
some son song soon sound south space speak special speech speed spell spend spoke spot spread spring square stand star
start state station stay stead steam steel step stick still stone stood stop store story straight strange stream
street stretch string strong student study subject substance subtract success such sudden suffix sugar suggest suit
summer sun supply support sure surface surprise swim syllable symbol system table tail take talk tall teach team teeth
tell temperature ten term test than thank that the their them then there these they thick thin thing think third this
those though thought thousand three through throw thus tie time tiny tire to together told tone too tool top total
touch toward town track trade train travel tree triangle trip trouble truck true try tube turn twenty two type under
unit until up us use usual valley value vary verb very view village visit voice vowel wait walk wall want war warm was
wash watch water wave way we wear weather week weight well went were west what wheel when where whether which while
white who whole whose why wide wife wild will win wind window wing winter wire wish with woman women wonder wood word
work world would write wrong yard year yellow yes yet you young your
café naïve Zürich Москва Київ Αθήνα 東京 こんにちは 你好 서울 مرحبا שלום नमस्ते สวัสดี straße façade señor œuvre
""".split()

ENDINGS = [".", ".", ".", "!", "?", " ...", ";", ":", ""]


def sentence(chance, n_words):
    """`n_words` words with a capital, a comma here and there, and an end."""
    words = [chance.choice(WORDS) for _ in range(n_words)]
    words[0] = words[0][:1].upper() + words[0][1:]
    words = [word + ("," if chance.random() < 0.1 else "") for word in words]
    return " ".join(words) + chance.choice(ENDINGS)
