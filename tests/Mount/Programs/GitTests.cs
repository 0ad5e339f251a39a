using EphemeralFs.Tests.Model.Trees;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>git's life of a repository. Dates and names are fixed, so objects and packs are the same bytes everywhere.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class GitTests(VolumeFixture volume)
{
    // The index keeps inode numbers and times; clones keep the absolute path they came from.
    private static readonly TreeOptions Options = new()
    {
        Skip = path => path.EndsWith(".git/index", StringComparison.Ordinal)
            || path is "clone/.git/config" or "clone/.git/logs" or "bare.git/config" or "bare.git/logs",
    };

    private const string Life = """
        git init -q -b main repository
        cd repository
        git config pack.threads 1
        git config gc.auto 0
        cp -a "$source/." .
        git add -A
        git commit -q -m 'All files'
        git status --porcelain
        # A branch that renames, removes and changes, merged with changes on main.
        git checkout -q -b other
        git mv "$(git ls-files -- '*.txt' | sed -n 1p)" renamed.txt
        git ls-files -- '*.c' | sed -n '1,40p' | git rm -q --pathspec-from-file=-
        for file in $(git ls-files -- '*.jpg' | sed -n '1,30p'); do printf 'more\n' >> "$file"; done
        git commit -q -a -m 'Change on a branch'
        git checkout -q main
        mkdir new
        for i in $(seq 1 200); do printf 'file %s\n' "$i" > "new/$i"; done
        git add new
        git commit -q -m 'Change on main'
        git merge -q --no-edit other
        git status --porcelain
        git stash list
        printf 'unstaged\n' >> new/1
        git stash -q
        git stash pop -q
        git checkout -q -- new/1
        git tag -a -m 'A tag' v1
        git gc -q --prune=now
        git fsck --full --strict --no-progress
        git count-objects -v | sed -n '/^count\|^in-pack\|^packs\|^garbage/p'
        git rev-parse HEAD v1 HEAD^{tree}
        cd ..
        git clone -q --no-local repository clone
        git -C clone fsck --full --strict --no-progress
        git -C clone rev-parse HEAD
        git -C clone status --porcelain
        git clone -q --bare repository bare.git
        git -C clone push -q "$PWD/bare.git" HEAD:refs/heads/pushed
        git -C bare.git fsck --full --strict --no-progress
        git -C bare.git rev-parse pushed
        """;

    [Fact]
    public void A_repository_lives_and_is_cloned()
    {
        Tool.Require("git");
        using var source = new Model.ReferenceDirectory();
        string tree = Path.Combine(source.Location, "tree");
        PlainTree.Create(tree, 1500, seed: 77);
        using var sides = volume.NewSides("git");
        sides.SameScript(400, $"source='{tree}'\nexport HOME=$PWD/home; mkdir home; git config --global --add safe.directory '*'\n{Life}", Options);
    }
}
