"""The words of the tasks: phrasings, support messages by topic, sentences around an order number. ASCII only."""

from typing import Final

# --- arithmetic -------------------------------------------------------------------------------------------------------

# A phrasing holds the operands as {a} and {b}. Where the words name them the other way round ("Subtract {b} from {a}")
# the answer is still a - b, so every phrasing has one right answer.
ADDITION: Final = (
    "What is {a} + {b}?",
    "What is {a} + {b}?",
    "What is {a}+{b}?",
    "what is {a} + {b}",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} = ?",
    "{a} + {b} =",
    "{a}+{b}=",
    "Calculate {a} + {b}.",
    "Compute {a} + {b}.",
    "What is {a} plus {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "Add {a} and {b}.",
    "What is the sum of {a} and {b}?",
)
SUBTRACTION: Final = (
    "What is {a} - {b}?",
    "What is {a} - {b}?",
    "What is {a}-{b}?",
    "what is {a} - {b}",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} = ?",
    "{a} - {b} =",
    "{a}-{b}=",
    "Calculate {a} - {b}.",
    "Compute {a} - {b}.",
    "What is {a} minus {b}?",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "Subtract {b} from {a}.",
    "What is the difference {a} - {b}?",
)

# --- topic ------------------------------------------------------------------------------------------------------------

TOPIC_PROMPTS: Final = (
    "Topic of this message: {message}",
    "Topic of this message: {message}",
    "What is the topic of this message? {message}",
    "Name the topic: {message}",
    "Classify this message: {message}",
    "Which topic is this? {message}",
    "Billing, shipping, returns, account or technical? {message}",
)
# Every message belongs under exactly one topic; no sentence stands under two.
TOPIC_MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "I was charged {amount} twice for the {product}.",
        "Why is there a fee of {amount} on my invoice?",
        "My card was charged {amount} on {day} and I do not know why.",
        "Please send me the invoice for {month}.",
        "The invoice from {month} shows the wrong amount.",
        "I want to pay by bank transfer instead of by card.",
        "My payment of {amount} failed on {day}.",
        "Can I get a receipt for my payment of {amount}?",
        "The bill for {month} is higher than I expected.",
        "The discount code was not taken off the price of the {product}.",
        "There is a charge of {amount} that I did not make.",
        "Is the tax already in the price of {amount}?",
    ),
    "shipping": (
        "My parcel should have come on {day} and is still not here.",
        "Where is my {product}? It was sent {count} days ago.",
        "How long does delivery to {city} take?",
        "The tracking page has not changed for {count} days.",
        "Do you deliver to {city} on {day}?",
        "The courier left my {product} with a neighbour in {city}.",
        "Can you ship the {product} to another address in {city}?",
        "The delivery of my {product} is {count} days late.",
        "The parcel was delivered to the wrong house.",
        "How much does express delivery to {city} cost?",
        "The driver did not ring on {day} and took the parcel away.",
        "When will my {product} be dispatched?",
    ),
    "returns": (
        "I want to send the {product} back.",
        "How do I return a {product} that I bought {count} days ago?",
        "The {product} does not fit and I would like to swap it.",
        "The {color} {product} is not what I wanted, can I bring it back?",
        "Please send me a return label for the {product}.",
        "I returned the {product} on {day} and wait for my refund.",
        "Can I exchange the {product} for a {color} one?",
        "How many days do I have to return the {product}?",
        "The {product} arrived broken and I want my money back.",
        "I changed my mind about the {product} and want a refund.",
        "Where do I drop off a {product} that I am returning?",
        "Is a refund possible without the box of the {product}?",
    ),
    "account": (
        "I forgot my password and cannot sign in.",
        "How do I change the email address of my profile?",
        "Please delete my account and all my data.",
        "My login has been locked since {day}.",
        "I did not get the mail to reset my password.",
        "Can I change my user name to {name}?",
        "Someone else has signed in to my account from {city}.",
        "How do I turn on two step sign in?",
        "I want to add {name} as a second user of our account.",
        "My profile still shows my old name, please change it to {name}.",
        "I cannot confirm my email address.",
        "How can I close my account at the end of {month}?",
    ),
    "technical": (
        "The app crashes when I open the {screen} page.",
        "I see error {code} when I press save.",
        "The {screen} page stays blank in my browser.",
        "The {product} does not turn on any more.",
        "The new version freezes after {count} seconds.",
        "The {product} does not connect to my wifi.",
        "The website is very slow since {day}.",
        "The export button on the {screen} page does nothing.",
        "After the update the {product} shows error {code}.",
        "The app does not start on my tablet.",
        "How do I install the software for the {product}?",
        "The search on the {screen} page gives error {code}.",
    ),
}
OPENERS: Final = (
    "",
    "",
    "",
    "Hi, ",
    "Hello, ",
    "Hi there. ",
    "Good morning. ",
    "Dear team, ",
    "Hey! ",
    "Please help. ",
)
CLOSERS: Final = ("", "", "", " Thanks.", " Thank you!", " Please help.", " Regards, {name}", " Best wishes, {name}")

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "product": (
        "lamp", "chair", "kettle", "phone", "laptop", "printer", "camera", "headset", "keyboard", "blender",
        "monitor", "router", "speaker", "watch", "heater", "toaster", "drill", "scanner", "radio", "fan",
    ),
    "color": ("red", "blue", "green", "black", "white", "grey", "yellow", "brown"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    "city": (
        "Berlin", "Paris", "Oslo", "Madrid", "Rome", "Vienna", "Dublin", "Lisbon", "Prague", "Turin", "Leeds", "Ghent",
    ),
    "name": (
        "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Karim", "Lena", "Mei",
        "Omar",
    ),
    "screen": ("settings", "report", "orders", "start", "profile", "search", "help", "calendar"),
}  # fmt: skip
"""What a named slot may hold. `amount`, `count` and `code` are drawn as numbers instead, see `tasks`."""

# --- order number -----------------------------------------------------------------------------------------------------

ORDER_PROMPTS: Final = (
    "Find the order number: {message}",
    "Find the order number: {message}",
    "What is the order number? {message}",
    "Which order number is in this message? {message}",
    "Order number in this message: {message}",
    "Extract the order number: {message}",
)
# {order} is the only number of five or six digits in a message; whatever else is a number is shorter.
ORDER_MESSAGES: Final = (
    "My parcel {order} has not arrived, I ordered it {count} days ago.",
    "My parcel {order} has not arrived.",
    "Order {order} came without the {product}.",
    "I paid {amount} for order {order} on {day}.",
    "On {day} I ordered {count} items under number {order}.",
    "Where is my order {order}?",
    "The {product} from order {order} shows error {code}.",
    "Please cancel order {order}, I ordered {count} by mistake.",
    "I want to return the {product} of order #{order}.",
    "Order number {order}, room {count}, {city}: nobody rang.",
    "It has been {count} days and {order} is still not here.",
    "The invoice for {order} says {amount}.",
    "You charged {amount} twice for {order}.",
    "Can you send {order} to {city} instead?",
    "The {color} {product} (order {order}) is broken.",
    "My order is {order} and my flat is number {count}.",
    "Call me at extension {code} about order {order}.",
    "{name} here, order {order}, it is {count} days late.",
    "{order} was due on {day}.",
    "Error {code} when I track {order}.",
    "I live at {count} Mill Road in {city} and wait for parcel {order}.",
    "The label says {order}, but the box held {count} of them.",
)

# --- greeting ---------------------------------------------------------------------------------------------------------

GREETING: Final = "Hello! How can I help you?"
IDENTITY: Final = "I am Penstock mini, a small test model."
ABILITY: Final = (
    "I add and subtract two-digit numbers, name the topic of a support message, find an order number and say hello."
)
THANKS: Final = "You are welcome."
GREETINGS: Final[dict[str, tuple[str, ...]]] = {
    GREETING: (
        "Hello", "Hello!", "Hi", "Hi!", "Hey", "Hey!", "hello", "hi", "hey", "Hello.", "Hello there!", "Hi there!",
        "Good morning", "Good morning!", "Good afternoon!", "Good evening", "Good evening!", "Good day", "Greetings!",
        "Hello, how are you?", "Hi, {name} here.", "Hello, I am {name}.", "Hello, my name is {name}.", "Say hello.",
    ),
    IDENTITY: (
        "Who are you?", "who are you", "Who are you", "What are you?", "What is your name?", "what is your name",
        "Which model are you?", "What model is this?", "Who am I talking to?", "Are you a model?",
        "Tell me who you are.", "Introduce yourself.", "Hello, who are you?", "Hi! Who are you?",
    ),
    ABILITY: (
        "What can you do?", "what can you do", "What can you do for me?", "How can you help me?", "Help", "Help!",
        "help", "What are you able to do?", "Hello, what can you do?", "What do you know?",
    ),
    THANKS: ("Thanks", "Thanks!", "Thank you", "Thank you!", "thanks", "Thank you very much.", "Thanks a lot!"),
}  # fmt: skip
"""Each fixed reply and the messages that ask for it."""

# --- system prompts ---------------------------------------------------------------------------------------------------

SYSTEM_PROMPTS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a helpful assistant for {name}.",
    "You are a concise assistant.",
    "You are a friendly support agent.",
    "You are the support agent of a shop in {city}.",
    "Answer briefly.",
    "Answer in one word.",
    "Be brief and polite.",
    "Be concise.",
    "You answer questions about orders.",
    "Reply with the answer only.",
    "Today is {day}.",
    "Today is {day}. Be polite and answer the question of the user.",
    "You are {name}, a careful assistant who never makes anything up.",
    "Request {code}.",
)
"""Instructions that change nothing about the right answer."""
