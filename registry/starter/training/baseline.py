"""The yardstick: word counts and a linear model on the same rows, and guessing."""

import collections

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from .data import read_rows
from .evaluation import f1, pearson, spans

NAMES = {
    "classification": "TF-IDF + logistic regression",
    "multi_label": "TF-IDF + one logistic regression per label",
    "regression": "cosine of the two TF-IDF vectors",
    "token_classification": "commonest tag of each word",
    "multiple_choice": "TF-IDF + logistic regression, right choice against wrong",
}


def vectorizer():
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", dtype=np.float32)


def joined(row):
    return row["text"] + (" [SEP] " + row["text_pair"] if row.get("text_pair") else "")


def classification(train, validation):
    features = vectorizer()
    model = LogisticRegression(C=10.0, max_iter=200)
    model.fit(features.fit_transform(map(joined, train)), [row["label"] for row in train])
    return float(model.score(features.transform(map(joined, validation)), [row["label"] for row in validation]))


def multi_label(train, validation, labels):
    def truth(rows):
        matrix = np.zeros((len(rows), labels), dtype=int)
        for number, row in enumerate(rows):
            matrix[number, row["labels"]] = 1
        return matrix

    features = vectorizer()
    model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=200, solver="liblinear"))
    model.fit(features.fit_transform(map(joined, train)), truth(train))
    proposed, true = model.predict(features.transform(map(joined, validation))), truth(validation)
    return f1(int((proposed & true).sum()), int(proposed.sum()), int(true.sum()))


def regression(train, validation):
    features = vectorizer().set_params(ngram_range=(1, 1))
    features.fit(text for row in train for text in (row["text"], row["text_pair"]))
    first = features.transform(row["text"] for row in validation)
    second = features.transform(row["text_pair"] for row in validation)
    cosine = np.asarray(first.multiply(second).sum(1)).ravel()
    return pearson(cosine.tolist(), [row["label"] for row in validation])


def token_classification(train, validation, labels):
    seen = collections.defaultdict(collections.Counter)
    for row in train:
        for word, label in zip(row["tokens"], row["labels"]):
            seen[word][label] += 1
    right = proposed = true = 0
    for row in validation:
        tags = [labels[seen[word].most_common(1)[0][0]] if word in seen else "O" for word in row["tokens"]]
        mine, theirs = spans(tags), spans([labels[label] for label in row["labels"]])
        right, proposed, true = right + len(mine & theirs), proposed + len(mine), true + len(theirs)
    return f1(right, proposed, true)


def multiple_choice(train, validation):
    rows = [(row["text"] + " [SEP] " + choice, int(number == row["label"]))
            for row in train for number, choice in enumerate(row["choices"])]
    features = vectorizer()
    model = LogisticRegression(C=1.0, max_iter=200)
    model.fit(features.fit_transform(text for text, _ in rows), [right for _, right in rows])
    hits = 0
    for row in validation:
        scores = model.decision_function(features.transform(row["text"] + " [SEP] " + c for c in row["choices"]))
        hits += int(scores.argmax() == row["label"])
    return hits / len(validation)


def guess(task, train, validation):
    """What guessing gets: the commonest training label, or one choice of n at random. None where it has no sense."""
    if task.kind == "classification":
        commonest = collections.Counter(row["label"] for row in train).most_common(1)[0][0]
        return sum(row["label"] == commonest for row in validation) / len(validation)
    if task.kind == "multiple_choice":
        return sum(1 / len(row["choices"]) for row in validation) / len(validation)
    return None


def measure(folder, task):
    train, validation = read_rows(folder, "train", task), read_rows(folder, "validation", task)
    if task.kind == "classification":
        value = classification(train, validation)
    elif task.kind == "multi_label":
        value = multi_label(train, validation, len(task.labels))
    elif task.kind == "regression":
        value = regression(train, validation)
    elif task.kind == "token_classification":
        value = token_classification(train, validation, task.labels)
    else:
        value = multiple_choice(train, validation)
    return {"baseline": value, "guess": guess(task, train, validation)}
