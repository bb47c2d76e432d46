use taskport::task;

type Parsed = Result<u32, String>;

#[task]
async fn parse(text: String) -> Parsed {
    text.parse().map_err(|_| text)
}

fn main() {}
