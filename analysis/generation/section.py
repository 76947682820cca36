"""The section of a generation sweep: recipes compared by judges, a video, a gallery and a page for each class."""

from analysis.generation import contact_sheets, judge_accuracy, recipe_strips, video
from analysis.generation.class_pictures import write_pictures
from analysis.generation.class_strips import Look
from analysis.generation.rows import load_generated
from analysis.html.site import Section, Site
from analysis.run import Run

# What the views of a report need beside the columns that name an image.
_COLUMNS = ("wnid", "logit", "probability", "top1", "top5_hit", "num_steps", "logit_by_step")


def section(run: Run, site: Site) -> Section:
    """Make the section of a generation sweep; write its pictures and class pages."""
    images = load_generated(run, _COLUMNS)
    pictures = write_pictures(images, site, Look())
    pages = recipe_strips.html(images, site, pictures)
    html = site.render(
        "generation.html",
        run=run,
        num_images=len(images.rows),
        num_planned=run.num_planned_cells,
        num_classes=images.rows["class_index"].nunique(),
        recipes=images.recipes,
        seeds=images.seeds,
        judge_accuracy=judge_accuracy.html(images, site),
        video=video.html(run, site, images.recipes) if run.kind == "generate" else "",
        gallery=contact_sheets.html(images, site, pictures, pages),
    )
    title = "Recipe search" if run.kind == "tune_recipe" else "Generated images"
    return Section(id=run.id, title=f"{title}: {run.name}", html=html)
