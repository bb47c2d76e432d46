use taskport::task;

#[task]
async fn render(title: String, #[default(7)] pages: u32) {
    drop((title, pages));
}

fn main() {
    let _ = render(3);
    let _ = render("Q3".into(), 12);
    let _ = render("Q3".into()).arg_page(12);
}
